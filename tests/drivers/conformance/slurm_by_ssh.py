"""The Slurm driver's harness, its commands on a login node: a real Slurm of two nodes behind a real sshd."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daskd.drivers.batch import SlurmDriver
from daskd.drivers.batch.slurm_driver import SlurmSettings

from ..batch.lab import PARTITION, Unavailable, slurm
from ..batch.login_lab import login
from ..bench import bench
from .jobs import JobsHarness


@asynccontextmanager
async def slurm_by_ssh_harness(folder: Path) -> AsyncIterator[JobsHarness]:
    """A Slurm and its login node; what they ran ends with them."""
    try:
        with slurm() as system, login() as node:
            async with bench(folder) as made:
                settings = SlurmSettings(
                    conf=str(system.conf),
                    per_minute=6000,
                    login_host=node.host,
                    # the user's home there is another one
                    log_directory=f"{made.home}/.daskd",
                )
                yield JobsHarness(SlurmDriver(), PARTITION, system, made, settings)
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm or no sshd here: {refusal}")
