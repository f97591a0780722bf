"""A simulated scheduler: answers on its link's unix socket as a runtime does, about workers that do not exist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

DRAIN = 1.0
"""Seconds from the order to retire until a worker has gone."""

TASK = 20.0
"""Seconds that each task of a load takes."""


@dataclass
class Worker:
    """A worker at the scheduler."""

    name: str
    instance: str
    since: float
    retiring: bool = False


class SimulatedScheduler:
    """One scheduler's process.

    Parameters
    ----------
    now
        The wall clock.
    retired
        Called with a worker's name when it has retired.

    Attributes
    ----------
    hangs
        It answers nobody, as one whose event loop is busy.
    refuses
        Its workers refuse to retire, as those with actors do.
    load
        How many tasks wait.
    """

    def __init__(
        self, cluster: str, instance: str, address: str, now: Callable[[], float], retired: Callable[[str], None]
    ) -> None:
        self.cluster = cluster
        self.instance = instance
        self.address = address
        self.hangs = False
        self.refuses = False
        self._now = now
        self._retired = retired
        self._load = 0
        self._rev = 1
        self._wake = 1
        self._workers: dict[str, Worker] = {}
        self._fenced: set[str] = set()
        self._ever: set[str] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def load(self) -> int:
        return self._load

    @load.setter
    def load(self, tasks: int) -> None:
        self._load = tasks
        self._bump()

    async def listen(self, path: Path) -> None:
        """Serve the link."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    def die(self) -> None:
        """kill -9."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()

    def join(self, instance: str, names: tuple[str, ...]) -> bool:
        """A node brings its workers; False: it is fenced."""
        if instance in self._fenced:
            return False
        self._ever.add(instance)
        for name in names:
            assert name not in self._workers, f"two workers are called {name}"
            self._workers[name] = Worker(name, instance, self._now())
        self._bump()
        return True

    def leave(self, instance: str) -> None:
        """A node is gone, and with it its workers."""
        self._workers = {name: each for name, each in self._workers.items() if each.instance != instance}
        self._bump()

    def _bump(self) -> None:
        self._rev += 1
        self._wake += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *fields = head.split("\r\n")
            _, target, _ = request.split(" ")
            lengths = [int(field.split(":")[1]) for field in fields if field.lower().startswith("content-length:")]
            body = json.loads(await reader.readexactly(lengths[0])) if lengths else {}
            while self.hangs:
                await asyncio.sleep(1.0)
            url = urlsplit(target)
            query = {key: float(values[0]) for key, values in parse_qs(url.query).items()}
            answer = json.dumps(await self._answer(url.path, query, body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(answer) + answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked has gone, or this scheduler has
        finally:
            with suppress(OSError):
                writer.close()

    async def _answer(self, path: str, query: dict[str, float], body: Any) -> dict[str, Any]:
        if path == "/v1/hello":
            versions = {"python": "3.11", "distributed": "2026.8.0"}
            who = {"cluster": self.cluster, "instance": self.instance}
            return {"protocol": 1, "runtime_version": "1", "versions": versions, **who}
        if path == "/v1/state":
            await self._news(query, lambda: self._rev)
            return self._state()
        if path == "/v1/snapshot":
            await self._news(query, lambda: self._wake)
            return self._snapshot()
        if path == "/v1/retire":
            return {"workers": {name: self._retire(name, body["if_idle_rev"]) for name in body["workers"]}}
        assert path == "/v1/fence", path
        return {"ids": {key: self._fence(key, body["lost"]) for key in body["ids"]}}

    async def _news(self, query: dict[str, float], count: Callable[[], int]) -> None:
        if query.get("since") == count():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), query["wait"])

    def _state(self) -> dict[str, Any]:
        workers = [
            {
                "name": each.name,
                "instance": each.instance,
                "address": "tls://127.0.0.1:1",
                "status": "closing_gracefully" if each.retiring else "running",
                "since": each.since,
                "nthreads": 1,
                "processing": min(self._load, 1),
            }
            for each in self._workers.values()
        ]
        return {"rev": self._rev, "t": self._now(), "phase": "running", "address": self.address, "workers": workers}

    def _snapshot(self) -> dict[str, Any]:
        ready = max(0, self._load - len(self._workers))
        executing = self._load - ready
        return {
            "t": self._now(),
            "rev": self._rev,
            "wake": self._wake,
            "waiting": 0,
            "more_work": ready > 0,
            "classes": [{"ready": ready, "executing": executing, "rows": [[ready, TASK, TASK]]}] if ready else [],
            "workers": [self._row(each, busy=n < executing) for n, each in enumerate(self._workers.values())],
        }

    def _row(self, worker: Worker, *, busy: bool) -> list[Any]:
        status = "closing_gracefully" if worker.retiring else "running"
        counts = [int(busy), 0, 0, 0, 0, 0]  # processing, long-running, actors, bytes, bytes alone, memory limit
        idle_since = None if busy else worker.since
        return [worker.name, worker.instance, status, *counts, idle_since, 1.0 if busy else -1, TASK if busy else -1]

    def _retire(self, name: str, if_idle_rev: int | None) -> dict[str, str]:
        worker = self._workers.get(name)
        if worker is None:
            return {"state": "unknown"}
        if worker.retiring:
            return {"state": "draining"}
        if self.refuses:
            return {"state": "refused", "words": "it holds an actor"}
        if if_idle_rev is not None and if_idle_rev != self._rev and self._load:
            return {"state": "refused", "words": "it got work since"}
        worker.retiring = True
        asyncio.get_running_loop().call_later(DRAIN, self._left, worker)
        self._bump()
        return {"state": "draining"}

    def _left(self, worker: Worker) -> None:
        if self._workers.get(worker.name) is worker:
            del self._workers[worker.name]
            self._bump()
            self._retired(worker.name)

    def _fence(self, key: str, lost: list[str]) -> str:
        here = any(each.instance == key for each in self._workers.values())
        if here or (key in self._ever and key not in lost):
            return "joined"
        self._fenced.add(key)
        return "fenced"
