"""Whatever is asked of a daemon, and whatever befalls it: all comes to be as asked, and nothing is lost or doubled.

In simulated time over simulated systems. A failure is told with the calls that lead to it and, by hypothesis, with what
makes it happen again; DASKD_FAULTS_EXAMPLES and DASKD_FAULTS_STEPS make the search longer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from daskd.crashpoints import POINTS
from daskd.model.cluster import Role

from .checker import Thing
from .model.driver import AWAY, LOCAL, Faults
from .model.house import House, house
from .model.machine import LOAD, ClusterLife, some

T = TypeVar("T")

some_driver = st.sampled_from([LOCAL, AWAY])
NEVER = 1e7
"""Seconds: a driver that takes so long never answers."""


class SimulatedLife(ClusterLife):
    """With faults that only a simulated system has when it is told to."""

    pauses = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
    quiet = 20.0
    drivers = (LOCAL, AWAY)
    world: House

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self.world, self._loop = self._stack.enter_context(house(0))
        self.run(self.world.start())

    def run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self._stack.close()

    @rule(point=st.sampled_from(POINTS))
    def arm(self, point: str) -> None:
        """The daemon will be killed at that point, when it gets there, and started again."""
        self.world.arm(point)

    @rule(which=some, loaded=st.booleans())
    def load(self, which: int, loaded: bool) -> None:
        """Somebody submits much work, or has it done."""
        if (cluster := self.one(which)) is not None:
            cluster.loaded = loaded
            self.world.systems.set_load(cluster.uid, LOAD if loaded else 0)

    @rule(driver=some_driver, delay=st.sampled_from([0.5, 10.0, 70.0, NEVER]))
    def delay(self, driver: str, delay: float) -> None:
        """A driver answers late, or never."""
        self.world.faults[driver].delay = delay

    @rule(driver=some_driver, how=st.sampled_from(["fails_before", "fails_after", "refuses"]))
    def fail(self, driver: str, how: str) -> None:
        """A driver's launches fail."""
        setattr(self.world.faults[driver], how, True)

    @rule(driver=some_driver, how=st.sampled_from(["nothing", "part", "error"]))
    def list_nothing(self, driver: str, how: str) -> None:
        """A driver lists nothing for a minute, and nothing healthy is ended for it."""
        before = self.things_at_rest()
        self.world.faults[driver].lists = how
        if before is not None:
            living = self.living
            self.run(self.world.let(60.0))
            assert living != self.living or before <= set(self.world.systems.things()), "something healthy was ended"

    def things_at_rest(self) -> set[Thing] | None:
        """What there is, if that is what is wanted and no fault is about to change it; else None."""
        is_at_fault = any(vars(each) != vars(Faults()) for each in self.world.faults.values())
        if not self.world.is_up or is_at_fault or self.wrong_at_rest():
            return None
        return set(self.world.systems.things())

    @rule(driver=some_driver, how=st.sampled_from(["no", "error"]))
    def refuse_to_end(self, driver: str, how: str) -> None:
        """A driver ends nothing."""
        self.world.faults[driver].ends = how

    @rule(driver=some_driver)
    def be_stubborn(self, driver: str) -> None:
        """What runs there heeds no word, however forceful."""
        self.world.systems.stubborn.add(driver)

    @rule(wait=st.sampled_from([0, 20, 200]))
    def queue(self, wait: int) -> None:
        """Whoever comes now waits so long."""
        self.world.systems.queue[AWAY] = wait

    @rule(which=some, how=st.sampled_from(["hangs", "refuses"]))
    def trouble_scheduler(self, which: int, how: str) -> None:
        """A scheduler hangs, or its workers refuse to go."""
        cluster = self.one(which)
        job = self.world.find(cluster.uid, Role.SCHEDULER, 0) if cluster is not None else None
        if job is not None and job.hub is not None:
            setattr(job.hub, how, True)

    @rule(step=st.sampled_from([-7200.0, -60.0, -1.0, 1.0, 60.0, 7200.0]))
    def set_clock(self, step: float) -> None:
        """Somebody sets the clock."""
        assert self.living is not None  # whoever expired by the old clock has
        self.world.clock.set_by += step

    @rule()
    def heal(self) -> None:
        """All faults end."""
        self.world.heal()


SimulatedLife.TestCase.settings = settings(
    max_examples=int(os.environ.get("DASKD_FAULTS_EXAMPLES", "40")),
    stateful_step_count=int(os.environ.get("DASKD_FAULTS_STEPS", "30")),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.faults
@pytest.mark.timeout(900)
class TestSimulatedLife(SimulatedLife.TestCase):  # type: ignore[name-defined,misc]
    """A daemon over simulated systems."""
