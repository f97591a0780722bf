"""The HTCondor driver's harness: a real HTCondor, and a user of this machine, for it runs no jobs of root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch import CondorDriver
from daskd.drivers.batch.condor_driver import CondorSettings
from daskd.model.spec import WorkerGroupSpec
from daskd.security.peer import identity_of
from tests.users.accounts import account, is_in_reach

from ..batch.condor_lab import BIN, Unavailable, condor
from ..bench import bench
from .jobs import JobsHarness


class CondorHarness(JobsHarness):
    """Jobs of a pool, which has no queues."""

    def group(self, **changes: Any) -> WorkerGroupSpec:
        return super().group(**{"options": {}, **changes})


@asynccontextmanager
async def condor_harness(folder: Path) -> AsyncIterator[CondorHarness]:
    """An HTCondor; what it ran ends with it."""
    if not is_in_reach():
        pytest.skip(
            "other users can't reach this interpreter: run make test-systems, or python -m tests.users.accounts"
        )
    try:
        with account("daskd-job") as user, condor() as system:
            # a stopped schedd is waited for until the time-out
            settings = CondorSettings(bin=str(BIN), conf=str(system.conf), per_minute=6000, timeout=5)
            async with bench(folder) as made:
                made.who, made.home = identity_of(user.uid), user.home
                yield CondorHarness(CondorDriver(), "", system, made, settings)
    except Unavailable as refusal:
        pytest.skip(f"there is no HTCondor here: {refusal}")
