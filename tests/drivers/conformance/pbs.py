"""The harnesses of the PBS and Torque drivers: doubles of the systems' command lines, not the systems."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from daskd.drivers.batch import PbsDriver, TorqueDriver
from daskd.drivers.batch.pbs_driver import PbsSettings
from daskd.drivers.protocol import Observation, Site
from daskd.model.spec import WorkerGroupSpec

from ..batch.double_lab import Double, double
from ..batch.lab import until
from ..bench import Bench, bench

DRIVERS = {driver.name: driver for driver in (PbsDriver(), TorqueDriver())}


class DoubleHarness:
    """Jobs of a double; that it does not answer is a server that is stopped."""

    def __init__(self, dialect: str, system: Double, made: Bench) -> None:
        self.driver = DRIVERS[dialect]
        self.system = system
        self.bench = made
        # a stopped server is waited for until the time-out
        settings = PbsSettings(bin=str(system.bin), per_minute=6000, timeout=5)
        self.bench.where = replace(made.where, settings=settings)

    async def open(self, bench: Bench | None = None) -> Site:
        bench = bench or self.bench
        return await self.driver.open(bench.who, bench.where)

    def group(self, **changes: Any) -> WorkerGroupSpec:
        fields = {"driver": self.driver.name, "memory_limit": "300MB", "options": {"queue": "main"}}
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
        until(lambda: self._nodes(seen.handle.id), "its node runs")
        [node] = self._nodes(seen.handle.id)
        os.kill(node, signal.SIGKILL)

    def _nodes(self, instance: str) -> list[int]:
        return [pid for pid, line in self.processes().items() if "daskd_runtime node" in line and instance in line]

    def freeze(self) -> AbstractContextManager[None]:
        return self.system.frozen()


@asynccontextmanager
async def _harness(dialect: str, folder: Path) -> AsyncIterator[DoubleHarness]:
    with double(dialect) as system:
        async with bench(folder) as made:
            yield DoubleHarness(dialect, system, made)


def pbs_harness(folder: Path) -> AbstractAsyncContextManager[DoubleHarness]:
    """A double of PBS; what it ran ends with it."""
    return _harness("pbs", folder)


def torque_harness(folder: Path) -> AbstractAsyncContextManager[DoubleHarness]:
    """A double of Torque; what it ran ends with it."""
    return _harness("torque", folder)
