"""The harness of the Moab driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from daskd.drivers.batch import MoabDriver

from .doubles import double_harness
from .jobs import JobsHarness


def moab_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of Moab."""
    return double_harness(MoabDriver(), folder)
