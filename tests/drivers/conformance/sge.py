"""The SGE driver's harness: a real Son of Grid Engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daskd.drivers.batch import SgeDriver
from daskd.drivers.batch.sge_driver import SgeSettings

from ..batch.sge_lab import LIB, QUEUE, Unavailable, sge
from ..bench import bench
from .jobs import JobsHarness


@asynccontextmanager
async def sge_harness(folder: Path) -> AsyncIterator[JobsHarness]:
    """An SGE; what it ran ends with it."""
    try:
        with sge() as system:
            root, port = system.variables["SGE_ROOT"], int(system.variables["SGE_QMASTER_PORT"])
            # a stopped qmaster is waited for until the time-out
            settings = SgeSettings(bin=str(LIB), root=root, qmaster_port=port, per_minute=6000, timeout=5)
            async with bench(folder) as made:
                yield JobsHarness(SgeDriver(), QUEUE, system, made, settings)
    except Unavailable as refusal:
        pytest.skip(f"there is no SGE here: {refusal}")
