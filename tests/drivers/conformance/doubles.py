"""The harnesses of drivers that are tried on doubles: of their systems' command lines, not the systems."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from daskd.drivers.batch.driver import BatchDriver

from ..batch.double_lab import double
from ..bench import bench
from .jobs import JobsHarness


@asynccontextmanager
async def double_harness(driver: BatchDriver, folder: Path) -> AsyncIterator[JobsHarness]:
    """The double of a driver's system; what it ran ends with it."""
    with double(driver.name) as system:
        # a stopped server is waited for until the time-out
        settings = driver.settings(bin=str(system.bin), per_minute=6000, timeout=5)
        async with bench(folder) as made:
            yield JobsHarness(driver, "main", system, made, settings)
