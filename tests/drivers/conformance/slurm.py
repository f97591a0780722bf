"""The Slurm driver's harness: a real Slurm of two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daskd.drivers.batch import SlurmDriver
from daskd.drivers.batch.slurm_driver import SlurmSettings

from ..batch.lab import PARTITION, Unavailable, slurm
from ..bench import bench
from .jobs import JobsHarness


@asynccontextmanager
async def slurm_harness(folder: Path) -> AsyncIterator[JobsHarness]:
    """A Slurm; what it ran ends with it."""
    try:
        with slurm() as system:
            settings = SlurmSettings(conf=str(system.conf), per_minute=6000)
            async with bench(folder) as made:
                yield JobsHarness(SlurmDriver(), PARTITION, system, made, settings)
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")
