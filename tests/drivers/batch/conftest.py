"""Fixtures: `system`, a real Slurm; `unstarted` and `daemon`, one that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon_process import DaemonProcess

from .lab import Slurm, Unavailable, slurm
from .labs import lab_daemon, slurm_as_lab


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm of two nodes, for all tests of a module that a process runs."""
    try:
        with slurm(2) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture
def unstarted(system: Slurm) -> Iterator[DaemonProcess]:
    """A daemon that uses it, not yet started; its jobs are gone after the test."""
    with lab_daemon(slurm_as_lab(system)) as process:
        yield process


@pytest.fixture
def daemon(unstarted: DaemonProcess) -> DaemonProcess:
    """The same, started."""
    unstarted.start()
    return unstarted
