"""The state that the link tells: workers, nodes, task counts, events, under one revision."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Status
from distributed.core import Server
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import WorkerState

from .changes import Changes

#: What our retirements are called in the scheduler's story, and how a removal is known as one.
RETIRE_STIMULUS = "daskd-retire-"

_EVENTS = 200
_LEFT = 200
_MAX_WORDS = 2000
TASK_STATES = ("waiting", "queued", "no-worker", "processing", "memory", "erred", "released")


class Journal:
    """The last events, numbered; a new one is a change of the state.

    Parameters
    ----------
    changes : Changes
        The state's revision.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seq = 0
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)

    def __call__(self, type_: str, words: str, **facts: Any) -> None:
        """Note an event.

        Parameters
        ----------
        type_ : str
            Its kind, for programs: "held", "retire-cut", ...
        words : str
            What happened, for people.
        **facts
            JSON values that the words rest on.
        """
        self._seq += 1
        self.events.append(
            {"seq": self._seq, "t": time.time(), "type": type_, "words": words[:_MAX_WORDS], "facts": facts}
        )
        self._changes.raise_()


def worker_document(
    ws: WorkerState, *, instance: str | None, since: float, retire: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return a worker as the state tells it; bytes are bytes, ``since`` is in unix seconds."""
    return {
        "name": str(ws.name),
        "instance": instance,
        "address": ws.address,
        "status": ws.status.name,
        "nthreads": ws.nthreads,
        "memory_limit": ws.memory_limit or 0,
        "resources": {str(k): v for k, v in ws.resources.items() if math.isfinite(v)},
        "processing": len(ws.processing),
        "executing": sum(ts in ws.processing for ts in ws.executing),
        "managed": ws.nbytes,
        "memory": ws.memory.process,
        "pid": ws.pid,
        "host": ws.host,
        "since": since,
        "retire": dict(retire) if retire else None,
    }


def http_address(scheduler: Any) -> str | None:
    """Return the URL of the scheduler's HTTP server, or None if it serves none."""
    server = getattr(scheduler, "http_server", None)
    if server is None or not server.port:  # none, or one on a unix socket
        return None
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"http://{host}:{server.port}"


class State(SchedulerPlugin):
    """Tells the state of the cluster.

    Parameters
    ----------
    changes : Changes
        The revision: raised by workers, nodes, retirements and events, never by gauges alone.
    journal : Journal
        The events.
    instance_of : callable
        Gives a worker name's instance id, or None.
    retirement_of : callable
        Gives a worker address's retirement, ``{"state", "words"}``, or None.
    """

    name = "daskd-state"

    def __init__(
        self,
        changes: Changes,
        journal: Journal,
        instance_of: Callable[[str], str | None],
        retirement_of: Callable[[str], Mapping[str, str] | None],
    ) -> None:
        self.changes = changes
        self.journal = journal
        self.left: deque[dict[str, Any]] = deque(maxlen=_LEFT)
        self._instance_of = instance_of
        self._retirement_of = retirement_of
        self._since: dict[str, float] = {}  # worker address: when it came
        self._names: dict[str, str] = {}  # worker address: its name, which the scheduler has forgotten

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Note a worker that came."""
        self._since[worker] = time.time()
        self._names[worker] = str(scheduler.workers[worker].name)
        self.changes.raise_()

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Note a worker that went: retired, or removed for any other reason."""
        self._since.pop(worker, None)
        name = self._names.pop(worker, worker)
        why = "retired" if str(kwargs.get("stimulus_id", "")).startswith(RETIRE_STIMULUS) else "removed"
        self.left.append({"name": name, "instance": self._instance_of(name), "t": time.time(), "why": why})
        self.changes.raise_()

    def retired(self) -> dict[str, float]:
        """Names of those of the last 200 workers that left which had retired, and when they left."""
        return {entry["name"]: entry["t"] for entry in self.left if entry["why"] == "retired"}

    def document(self, scheduler: Any, nodes: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the state now."""
        counts: Counter[str] = Counter()
        for prefix in scheduler.task_prefixes.values():
            for state in TASK_STATES:
                counts[state] += prefix.states[state]
        running = scheduler.status == Status.running
        return {
            "rev": self.changes.count,
            "t": time.time(),
            "phase": "running" if running else "closing",
            "address": address_of(scheduler),
            "dashboard": http_address(scheduler),
            "nodes": nodes,
            "workers": [self._worker(ws) for ws in scheduler.workers.values()],
            "left": list(self.left),
            "tasks": {state: counts[state] for state in TASK_STATES},
            "clients": len(scheduler.client_comms),
            "idle_since": scheduler.check_idle(),
            "held": scheduler.keeper.counts(),
            "events": list(self.journal.events),
        }

    def _worker(self, ws: WorkerState) -> dict[str, Any]:
        name = str(ws.name)
        return worker_document(
            ws,
            instance=self._instance_of(name),
            since=self._since.get(ws.address, 0.0),
            retire=self._retirement_of(ws.address),
        )


def address_of(server: Server) -> str | None:
    """Return the address at which a server is reached, or None if it doesn't listen any more."""
    try:
        address: str = server.address
    except ValueError:
        return None
    return getattr(server, "contact_address", None) or address
