"""The harnesses of the PBS and Torque drivers: doubles of the systems' command lines, not the systems."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from daskd.drivers.batch import PbsDriver, TorqueDriver
from daskd.drivers.batch.pbs_driver import PbsSettings

from ..batch.double_lab import double
from ..bench import bench
from .jobs import JobsHarness


@asynccontextmanager
async def _harness(driver: PbsDriver | TorqueDriver, folder: Path) -> AsyncIterator[JobsHarness]:
    with double(driver.name) as system:
        # a stopped server is waited for until the time-out
        settings = PbsSettings(bin=str(system.bin), per_minute=6000, timeout=5)
        async with bench(folder) as made:
            yield JobsHarness(driver, "main", system, made, settings)


def pbs_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of PBS; what it ran ends with it."""
    return _harness(PbsDriver(), folder)


def torque_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of Torque; what it ran ends with it."""
    return _harness(TorqueDriver(), folder)
