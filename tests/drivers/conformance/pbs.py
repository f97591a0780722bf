"""The harnesses of the PBS and Torque drivers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from daskd.drivers.batch import PbsDriver, TorqueDriver

from .doubles import double_harness
from .jobs import JobsHarness


def pbs_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of PBS."""
    return double_harness(PbsDriver(), folder)


def torque_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of Torque."""
    return double_harness(TorqueDriver(), folder)
