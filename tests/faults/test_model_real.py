"""The same random life as in simulated time, shorter, with a daemon's process and clusters' processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings

from ..daemon_process import daemon_process
from .model.machine import ClusterLife
from .real import CONFIG, RealWorld

T = TypeVar("T")


class RealLife(ClusterLife):
    """Nothing but what kills and calls do: of the rest the simulated life has more."""

    pauses = (0.5, *([1.0] * 20), *([2.0] * 60))
    quiet = 2.0
    most_workers = 2
    may_expire = False
    world: RealWorld

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()
        self._stack.callback(self._loop.close)
        self.world = RealWorld(self._stack.enter_context(daemon_process(CONFIG)))
        self.run(self.world.start())

    def run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.run(self.world.close())
        finally:
            self._stack.close()


RealLife.TestCase.settings = settings(
    max_examples=int(os.environ.get("DASKD_FAULTS_REAL_EXAMPLES", "2")),
    stateful_step_count=int(os.environ.get("DASKD_FAULTS_REAL_STEPS", "10")),
    deadline=None,
    print_blob=True,
    # a smaller example takes as long as a whole test for each try
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.real
@pytest.mark.faults
@pytest.mark.timeout(900)
class TestRealLife(RealLife.TestCase):  # type: ignore[name-defined,misc]
    """A daemon over the processes of this machine."""
