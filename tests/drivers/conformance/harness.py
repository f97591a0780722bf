"""What a driver brings to the conformance suite: its system, with what may befall it from outside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from daskd.drivers.protocol import Driver, Observation, Site
from daskd.model.spec import WorkerGroupSpec

from ..bench import Bench


class Harness(Protocol):
    """One driver and its system, under test.

    Attributes
    ----------
    bench
        The scheduler that nodes join, and what the driver is told of their cluster.
    """

    driver: Driver
    bench: Bench

    async def open(self, bench: Bench | None = None) -> Site:
        """A site as a daemon that has just started opens it; with another bench, as another daemon does."""

    def group(self, **changes: Any) -> WorkerGroupSpec:
        """A worker group that this system can run."""

    def processes(self) -> Mapping[int, str]:
        """Command lines of all that runs on the system, by pid on this machine."""

    def environments(self) -> bytes:
        """The environments of all that runs there, which only its owner may read, put together."""

    def files(self) -> list[Path]:
        """All that lies there of this daemon's clusters."""

    def kill(self, seen: Observation) -> None:
        """kill -9 of a node's own process, behind the driver's back."""

    def freeze(self) -> AbstractContextManager[None]:
        """The system does not answer within; what it runs goes on. Asked of those alone that are `FREEZABLE`."""
