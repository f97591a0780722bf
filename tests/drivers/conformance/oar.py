"""The harness of the OAR driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from daskd.drivers.batch import OarDriver

from .doubles import double_harness
from .jobs import JobsHarness


def oar_harness(folder: Path) -> AbstractAsyncContextManager[JobsHarness]:
    """A double of OAR."""
    return double_harness(OarDriver(), folder)
