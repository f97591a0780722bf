"""Instances that wait at their system: told, not counted as failures, and ended where waiting will never help."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cluster_states import LONG_AGO, NOW, after, cluster, node, of, scheduler, seen, types, view, waiting

from daskd.control.absorb import absorb
from daskd.control.observer import Observer
from daskd.control.plan import HOPELESS_FOR, JOIN_PATIENCE, Chosen, Terminate, decide
from daskd.control.settings import Settings
from daskd.control.view import View
from daskd.drivers.protocol import Capabilities, Observation, Snapshot, Wait
from daskd.model.cluster import Handle, Instance, State

SETTINGS = Settings()
QUEUED = waiting(launched=LONG_AGO, created=LONG_AGO, state=State.QUEUED)


def seen_waiting(wait: Wait, since: float) -> Observation:
    return seen("n0", State.QUEUED, wait=wait, waiting=since, words=f"waits: {wait.value}", pid=None, host="")


def terminations(of_view: View) -> list[Terminate]:
    return [action for action in decide(of_view, Chosen(), NOW).actions if isinstance(action, Terminate)]


@pytest.mark.parametrize("wait", [wait for wait in Wait if wait is not Wait.HOPELESS])
def test_what_waits_is_waited_for(wait: Wait) -> None:
    """A node that has been queued for an hour is neither ended nor replaced."""
    waits = view(cluster(1), [scheduler(), QUEUED], seen=[seen_waiting(wait, LONG_AGO)])
    assert decide(waits, Chosen(), NOW).actions == ()


def test_what_will_never_run_is_ended_after_a_minute() -> None:
    """A request that its system can't meet is a launch failure with the system's words, once it said so for long."""
    for since, expected in ((NOW - HOPELESS_FOR + 1, []), (NOW - HOPELESS_FOR, [("n0",)])):
        hopeless = view(cluster(1), [scheduler(), QUEUED], seen=[seen_waiting(Wait.HOPELESS, since)])
        found = terminations(hopeless)
        assert [action.ids for action in found] == expected
        assert [action.fault for action in found] == ["waits: hopeless"] * len(expected)


def test_waits_that_somebody_can_end_are_told_once() -> None:
    """Held, limited and hopeless nodes are an event with the system's words; those in their turn are none."""
    for wait in Wait:
        first = view(cluster(1), [scheduler(), QUEUED], seen=[seen_waiting(wait, LONG_AGO)])
        ledger = absorb(first, NOW)
        told = ["INSTANCE_WAITS"] if wait in (Wait.HELD, Wait.LIMIT, Wait.HOPELESS) else []
        assert types(ledger) == told
        assert of(ledger, "n0").words == f"waits: {wait.value}"
        assert types(absorb(after(first, ledger), NOW)) == []


def running(since: float) -> Instance:
    """A node that was launched an hour ago, has not joined, and runs since then."""
    instance = waiting(launched=LONG_AGO, created=LONG_AGO, state=State.QUEUED)
    observed = seen("n0", State.RUNNING, started=since)
    return of(absorb(view(cluster(1), [scheduler(), instance], seen=[observed]), NOW), "n0")


def test_the_time_to_join_begins_when_it_begins_to_run() -> None:
    """A job that waited for an hour has as long to join as any other."""
    bound = SETTINGS.join_timeout + JOIN_PATIENCE
    assert terminations(view(cluster(1), [scheduler(), running(NOW - bound + 1)])) == []
    [ended] = terminations(view(cluster(1), [scheduler(), running(NOW - bound)]))
    assert ended.ids == ("n0",)


def test_when_it_began_to_run_is_recorded_once() -> None:
    """The first listing that shows it running says when; one that says no time counts by itself."""
    assert running(NOW - 7).started == NOW - 7
    again = view(cluster(1), [scheduler(), running(NOW - 7)], seen=[seen("n0", State.RUNNING, started=NOW)])
    assert of(absorb(again, NOW), "n0").started == NOW - 7
    silent = view(cluster(1), [scheduler(), waiting()], seen=[seen("n0", State.RUNNING)])
    assert of(absorb(silent, NOW), "n0").started == NOW


class Listed:
    """A site that lists what it is told to, and how long it was before it was asked each time."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self.state = State.QUEUED
        self.asked: list[float] = []
        self.enough = asyncio.Event()

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) >= 6:
            self.enough.set()
        return Snapshot(NOW, True, tuple(Observation(handle, self.state) for handle in known))


async def test_looks_at_what_only_waits_grow_rarer() -> None:
    """Each look without news makes the next one later, up to the quiet pace; an act begins anew."""
    site = Listed(Capabilities(False, 0.0, False, 0.01, 0.4, 1.0, poll_growth=2.0))
    observer = Observer(site, lambda _: None, 60.0)  # type: ignore[arg-type]
    observer.watch("c1", {"n0": node().handle}, lambda: None, hurry=True)
    task = asyncio.create_task(observer.run())
    try:
        await asyncio.wait_for(site.enough.wait(), 60)
    finally:
        task.cancel()
    # the sum of pauses that double; a machine that is slow makes them longer only
    assert site.asked[-1] - site.asked[1] >= 0.01 * (1 + 2 + 4 + 8)


async def test_looks_at_a_system_without_growth_keep_their_pace() -> None:
    """The local driver's answers cost nothing, so its pace is as it was."""
    site = Listed(replace(Capabilities(False, 0.0, False, 0.01, 3600.0, 1.0)))
    observer = Observer(site, lambda _: None, 60.0)  # type: ignore[arg-type]
    observer.watch("c1", {"n0": node().handle}, lambda: None, hurry=True)
    task = asyncio.create_task(observer.run())
    try:
        await asyncio.wait_for(site.enough.wait(), 60)
    finally:
        task.cancel()
