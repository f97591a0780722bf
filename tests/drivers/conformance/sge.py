"""The SGE driver's harness: a real Son of Grid Engine."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch import SgeDriver
from daskd.drivers.batch.sge_driver import SgeSettings
from daskd.drivers.protocol import Observation, Site
from daskd.model.spec import WorkerGroupSpec

from ..batch.lab import until
from ..batch.sge_lab import LIB, QUEUE, Sge, Unavailable, sge
from ..bench import Bench, bench


class SgeHarness:
    """Jobs of an SGE of its own; that it does not answer is a qmaster that is stopped."""

    def __init__(self, system: Sge, made: Bench) -> None:
        self.driver = SgeDriver()
        self.system = system
        self.bench = made
        root, port = system.variables["SGE_ROOT"], int(system.variables["SGE_QMASTER_PORT"])
        # a stopped qmaster is waited for until the time-out
        settings = SgeSettings(bin=str(LIB), root=root, qmaster_port=port, per_minute=6000, timeout=5)
        self.bench.where = replace(made.where, settings=settings)

    async def open(self, bench: Bench | None = None) -> Site:
        bench = bench or self.bench
        return await self.driver.open(bench.who, bench.where)

    def group(self, **changes: Any) -> WorkerGroupSpec:
        return WorkerGroupSpec(**{"driver": "sge", "memory_limit": "300MB", "options": {"queue": QUEUE}, **changes})

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
async def sge_harness(folder: Path) -> AsyncIterator[SgeHarness]:
    """An SGE; what it ran ends with it."""
    try:
        with sge() as system:
            async with bench(folder) as made:
                yield SgeHarness(system, made)
    except Unavailable as refusal:
        pytest.skip(f"there is no SGE here: {refusal}")
