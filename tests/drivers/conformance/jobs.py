"""What the harnesses of batch systems have in common, real ones and doubles."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from daskd.drivers.batch.driver import BatchDriver
from daskd.drivers.batch.options import BatchSettings
from daskd.drivers.protocol import Observation, Site
from daskd.model.spec import WorkerGroupSpec
from tests.daemon_process import until

from ..bench import Bench
from .nodes import node_of


class System(Protocol):
    """A batch system of the tests' own."""

    def processes(self) -> Mapping[int, str]:
        """What runs in its jobs: pids and command lines."""

    def frozen(self) -> AbstractContextManager[None]:
        """It does not answer meanwhile."""


class JobsHarness:
    """Jobs of a system of its own; that it does not answer is its server that is stopped."""

    def __init__(self, driver: BatchDriver, queue: str, system: System, made: Bench, settings: BatchSettings) -> None:
        self.driver = driver
        self.queue = queue
        self.system = system
        self.bench = made
        self.bench.where = replace(made.where, settings=settings)

    async def open(self, bench: Bench | None = None) -> Site:
        bench = bench or self.bench
        return await self.driver.open(bench.who, bench.where)

    def group(self, **changes: Any) -> WorkerGroupSpec:
        fields = {"driver": self.driver.name, "memory_limit": "300MB", "options": {"queue": self.queue}}
        return WorkerGroupSpec(**{**fields, **changes})

    def processes(self) -> Mapping[int, str]:
        return self.system.processes()

    def environments(self) -> bytes:
        found = []
        for pid in self.processes():
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/environ").read_bytes())
        return b"".join(found)

    def files(self) -> list[Path]:
        return list((self.bench.home / ".daskd").rglob("*"))

    def kill(self, seen: Observation) -> None:
        # a job runs, by its system's word, before its node does
        node = until(lambda: node_of(self.processes(), seen.handle.id), "its node runs")
        os.kill(node, signal.SIGKILL)

    def freeze(self) -> AbstractContextManager[None]:
        return self.system.frozen()
