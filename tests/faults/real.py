"""The world of the model test for real: a daemon's process, and what its local driver launches."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import psutil

from daskd.model.cluster import Role
from daskd_client import AsyncDaskd

from ..daemon_process import DaemonProcess
from ..spine.cluster_processes import of_role
from .checker import Breach, Evidence, breaches_always
from .evidence import gathered, recorded, supervised_things

T = TypeVar("T")

CONFIG = """
[clusters]
max_launch_failures = 1000
max_scheduler_restarts = 1000
"""

DOUBT = 20.0
"""Seconds within which what is read one after the other goes together: things end while they are looked at."""


class RealWorld:
    """A daemon of the local driver, and its processes."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self._client = AsyncDaskd(daemon.address)

    @property
    def is_up(self) -> bool:
        """Whether there is a daemon."""
        return self.daemon.process is not None and self.daemon.process.poll() is None

    @property
    def bugs(self) -> list[str]:
        """What the daemon's log says of errors that nobody caused."""
        lines = self.daemon.log.read_text().splitlines() if self.daemon.log.exists() else []
        return [line[:2000] for line in lines if "unexpectedly" in line or "Traceback" in line]

    def now(self) -> float:
        """The wall clock."""
        return time.time()

    async def start(self) -> None:
        """Start it."""
        await asyncio.to_thread(self.daemon.start)

    async def stop(self) -> None:
        """Stop it in good order."""
        await asyncio.to_thread(self.daemon.stop)

    async def kill(self) -> None:
        """kill -9."""
        if self.is_up:
            await asyncio.to_thread(self.daemon.kill)

    async def reload(self) -> None:
        """SIGHUP."""
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGHUP)

    async def ask(self, call: Callable[[AsyncDaskd], Awaitable[T]]) -> T:
        """What the API answers."""
        return await call(self._client)

    async def let(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def kill_instance(self, uid: str, role: Role, n: int) -> None:
        """kill -9 of a scheduler's or a node's process."""
        if pids := of_role(self.daemon, uid, role.value):
            with suppress(ProcessLookupError):
                os.kill(pids[n % len(pids)], signal.SIGKILL)

    def kill_worker(self, uid: str, n: int) -> None:
        """kill -9 of a process below a node: a worker's, or that which forks them."""
        if pids := of_role(self.daemon, uid, Role.NODE.value):
            with suppress(psutil.NoSuchProcess):
                if below := psutil.Process(pids[n % len(pids)]).children(recursive=True):
                    below[-1].kill()

    def heal(self) -> None:
        """No fault here lasts."""

    async def evidence(self) -> Evidence:
        """All there is to know."""
        return await gathered(self.daemon.state_dir, self._client, supervised_things(self.daemon))

    def wrong_now(self) -> list[Breach]:
        """What must never be, and is for longer than it takes to look."""
        deadline = time.monotonic() + DOUBT
        while True:
            said, things = recorded(self.daemon.state_dir), tuple(supervised_things(self.daemon))
            found = breaches_always(Evidence(said.clusters, said.instances, things))
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    async def close(self) -> None:
        """Let go of the client."""
        await self._client.close()
