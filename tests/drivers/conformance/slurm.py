"""The Slurm driver's harness: a real Slurm of two nodes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch import SlurmDriver
from daskd.drivers.batch.slurm_driver import SlurmSettings
from daskd.drivers.protocol import Observation, Site
from daskd.model.spec import WorkerGroupSpec

from ..batch.lab import PARTITION, Slurm, Unavailable, slurm, until
from ..bench import Bench, bench


class SlurmHarness:
    """Jobs of a Slurm of its own; that it does not answer is a controller that is stopped."""

    def __init__(self, system: Slurm, made: Bench) -> None:
        self.driver = SlurmDriver()
        self.system = system
        self.bench = made
        self.bench.where = replace(made.where, settings=SlurmSettings(conf=str(system.conf), per_minute=6000))

    async def open(self, bench: Bench | None = None) -> Site:
        bench = bench or self.bench
        return await self.driver.open(bench.who, bench.where)

    def group(self, **changes: Any) -> WorkerGroupSpec:
        return WorkerGroupSpec(
            **{"driver": "slurm", "memory_limit": "300MB", "options": {"queue": PARTITION}, **changes}
        )

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
async def slurm_harness(folder: Path) -> AsyncIterator[SlurmHarness]:
    """A Slurm; what it ran ends with it."""
    try:
        with slurm() as system:
            async with bench(folder) as made:
                yield SlurmHarness(system, made)
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")
