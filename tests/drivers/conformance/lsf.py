"""The harness of the LSF driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from daskd.drivers.batch import LsfDriver

from .doubles import double_harness
from .jobs import JobsHarness


def lsf_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of LSF."""
    return double_harness(LsfDriver(), folder)
