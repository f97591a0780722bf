"""Nodes whose time is nearly over: whose successor is asked for when, and when they go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import (
    LONG_AGO,
    NOW,
    POLICY,
    at_hub,
    cluster,
    ended,
    heard,
    node,
    of,
    scheduler,
    seen,
    types,
    view,
    waiting,
    young,
)
from cluster_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control import rotation
from daskd.control.absorb import absorb
from daskd.control.plan import Cancel, Chosen, LaunchNodes, Retire, decide
from daskd.control.view import View
from daskd.model.adaptive import Snapshot, WorkerRow
from daskd.model.cluster import Cause, Instance, Role, State

HOUR = 3600.0
GB = 10**9


def ending(n: int = 0, left: float = 40.0, **fields: Any) -> Instance:
    """A node that has run for an hour and has so many seconds left; its successor has been asked for."""
    return node(n, **{"started": LONG_AGO, "expected_end": NOW + left, "rotating": NOW - 100, **fields})


def unmarked(n: int = 0, left: float = 40.0, **fields: Any) -> Instance:
    """The same, before its successor was asked for."""
    return ending(n, left, **{"rotating": None, **fields})


def done(some: list[Instance], desired: int = 2, **fields: Any) -> list[Any]:
    """What is done about a cluster with these nodes."""
    return list(decide(view(cluster(desired=desired), [scheduler(), *some], **fields), Chosen(), NOW).actions)


def marks(some: list[Instance], starts: tuple[float, ...] = (20.0,), **fields: Any) -> list[str]:
    """Whose successor is asked for."""
    kind = cluster(desired=len(some), start_times=starts, **fields)
    after = absorb(view(kind, [scheduler(), *some]), NOW)
    return [each.id for each in after.instances if each.rotating is not None]


# whose time is nearly over


def test_a_node_is_succeeded_before_its_end_by_what_a_start_takes() -> None:
    """The slowest of ten starts, and a minute, before the end; not while there is more time."""
    starts = (20.0,) * 8 + (100.0,)
    assert marks([unmarked(0, 100 + 60 - 1)], starts) == ["n0"]
    assert marks([unmarked(0, (100 + 60) * 1.2 + 1)], starts) == []
    assert marks([unmarked(0, 100.0), unmarked(1, 500.0)], starts) == ["n0"]


def test_a_node_with_more_data_is_succeeded_sooner() -> None:
    """At 100 MB/s, 10 GB are a hundred seconds more."""
    full = unmarked(0, 150.0)
    snapshot = Snapshot(t=NOW, received=NOW, workers=(WorkerRow("n0-0", "n0", nbytes=10 * GB),))
    kind = cluster(desired=1, start_times=(20.0,))
    assert not of(absorb(view(kind, [scheduler(), full]), NOW), "n0").rotating
    assert of(absorb(view(kind, [scheduler(), full], snapshot=snapshot), NOW), "n0").rotating == NOW


def test_those_that_began_together_are_succeeded_one_by_one() -> None:
    """The lead differs by a fifth at most, and is the same each time it is reckoned."""
    leads = [rotation.lead(unmarked(n), (540.0,), ())[0] for n in range(50)]
    assert leads == [rotation.lead(unmarked(n), (540.0,), ())[0] for n in range(50)]
    assert len(set(leads)) == 50
    assert 600 <= min(leads) <= 620
    assert 700 <= max(leads) <= 720


def test_half_of_a_short_walltime_is_the_most_and_is_told() -> None:
    """Where starts take longer than half of the walltime a node still works for half of it."""
    plenty = replace(unmarked(0, 45.0, started=NOW - 75), launched=NOW - 90)
    assert types(absorb(view(cluster(desired=1, start_times=(6.0,)), [scheduler(), plenty]), NOW)) == []
    short = unmarked(0, 55.0, started=NOW - 65, launched=NOW - 300)
    early = replace(short, expected_end=NOW + 70, started=NOW - 50)
    for one, is_marked in ((short, False), (early, False), (replace(short, expected_end=NOW + 45), True)):
        ledger = absorb(view(cluster(desired=1, start_times=(200.0,)), [scheduler(), one]), NOW)
        assert (of(ledger, "n0").rotating is not None) is is_marked
        assert types(ledger) == (["WALLTIME_SHORT"] if is_marked else [])


@pytest.mark.parametrize(
    "fields",
    [
        {"expected_end": None},
        {"joined": None},
        {"retiring": NOW - 5},
        {"stopping": NOW - 5},
    ],
    ids=str,
)
def test_who_has_no_end_or_goes_anyway_has_no_successor(fields: dict[str, Any]) -> None:
    """Only a node that works and whose end is known is marked."""
    assert marks([unmarked(0, **fields)]) == []


def test_a_cluster_that_ends_succeeds_nobody() -> None:
    """Nor are nodes of an adaptive group marked but by its policy."""
    assert marks([unmarked()], stop="deleted by ann") == []
    assert marks([unmarked()], adaptive=POLICY) == []


def test_the_mark_stays() -> None:
    """What starts meanwhile is faster does not unmark a node, so that its successor never becomes a surplus."""
    assert marks([ending(0, 5000.0)], starts=(0.1,)) == ["n0"]


def test_an_expected_end_is_recorded_when_it_moves() -> None:
    """Half a minute is the rounding of listings; what a listing leaves out is kept; more time is taken."""
    known = unmarked(0, HOUR)
    for said, recorded in ((HOUR + 29, HOUR), (HOUR - 29, HOUR), (None, HOUR), (HOUR + 31, HOUR + 31)):
        after = absorb(
            view(
                cluster(desired=1),
                [scheduler(), known],
                seen=[seen("n0", expected_end=None if said is None else NOW + said)],
            ),
            NOW,
        )
        assert of(after, "n0").expected_end == NOW + recorded


def test_what_is_put_back_into_the_line_has_its_time_before_it() -> None:
    """A job that is requeued under its id begins anew."""
    after = absorb(view(cluster(desired=1), [scheduler(), ending()], seen=[seen("n0", State.QUEUED)]), NOW)
    assert (of(after, "n0").expected_end, of(after, "n0").rotating) == (None, None)


# the plan


def test_one_successor_is_launched_for_each() -> None:
    """Beyond what is desired, and no more when it is on its way or there."""
    assert done([ending(0), ending(1)]) == [LaunchNodes("default", 2)]
    assert done([ending(0), node(1)]) == [LaunchNodes("default", 1)]
    assert done([ending(0), ending(1), waiting(2), waiting(3)]) == []
    assert done([ending(0), ending(1), waiting(2)]) == [LaunchNodes("default", 1)]


def test_who_is_succeeded_retires() -> None:
    """Once the successor has joined, and not before."""
    assert done([ending(0), node(1), waiting(2)]) == []
    assert done([ending(0), node(1), node(2)]) == [Retire(("n0",))]


def test_those_that_end_together_retire_in_one_call() -> None:
    """When all of them are succeeded, lest the data of one move to the next to end; who ends later stays till then."""
    pair = [ending(0, 100), ending(1, 110)]
    assert done([*pair, node(2), waiting(3)]) == []
    assert done([*pair, node(2), node(3)]) == [Retire(("n0", "n1"))]
    later = ending(1, 200)
    assert done([ending(0, 100), later, node(2), waiting(3)]) == [Retire(("n0",))]
    assert done([ending(0, 100), later, node(2), node(3)]) == [Retire(("n0",)), Retire(("n1",))]


def test_who_is_not_succeeded_retires_late() -> None:
    """Half a minute before the end at the latest."""
    assert done([ending(0, 31), node(1), waiting(2)]) == []
    assert done([ending(0, 29), node(1), waiting(2)]) == [Retire(("n0",), is_late=True)]


def test_long_tasks_and_much_data_retire_a_node_sooner() -> None:
    """Twice the longest task and twice what the data takes, at most five minutes, before the end."""
    row = WorkerRow("n0-0", "n0", processing=1, expected=50.0, unique=GB)
    snapshot = Snapshot(t=NOW, received=NOW, workers=(row,))
    late = [Retire(("n0",), is_late=True)]
    assert done([ending(0, 119), node(1), waiting(2)], snapshot=snapshot) == late
    assert done([ending(0, 121), node(1), waiting(2)], snapshot=snapshot) == []
    endless = replace(snapshot, workers=(replace(row, expected=1e6),))
    assert done([ending(0, 301), node(1), waiting(2)], snapshot=endless) == []


def test_who_refuses_is_asked_again() -> None:
    """Not at once; and it counts as what works meanwhile."""
    some = [ending(0), node(1), node(2)]
    assert done(some, refused={"n0": NOW - 5}) == []
    assert done(some, refused={"n0": NOW - 11}) == [Retire(("n0",))]


def test_nobody_retires_on_the_word_of_a_silent_scheduler() -> None:
    """A successor is launched all the same."""
    some = [ending(0, 10), node(1)]
    hub = replace(heard(at_hub(some)), connected=False, trouble="timed out")
    assert done(some, hub=hub) == [LaunchNodes("default", 1)]


def test_fewer_are_wanted_than_end() -> None:
    """A successor that is no longer wanted goes, and who ends retires instead of it."""
    assert done([ending(0), node(1), waiting(2)], desired=1) == [Retire(("n0",)), Cancel(("n2",))]
    assert done([ending(0), node(1)], desired=1) == [Retire(("n0",))]
    assert done([ending(0)], desired=0) == [Retire(("n0",))]


def test_half_of_the_time_that_is_left_is_for_the_data() -> None:
    """Running tasks are waited for no longer; one that goes for another reason waits as it would."""
    assert rotation.drain_bound([ending(0, 300), ending(1, 200)], 60.0, NOW) == 100
    assert rotation.drain_bound([unmarked(0, 80)], 60.0, NOW) == 40
    assert rotation.drain_bound([unmarked(0, HOUR)], 60.0, NOW) == 60
    assert rotation.drain_bound([node(0)], 60.0, NOW) == 60
    assert rotation.drain_bound([ending(0, -5)], 60.0, NOW) == 1
    assert rotation.drain_bound([ending(0, 30 * 24 * HOUR)], 60.0, NOW) == 24 * HOUR


# what is told


def test_a_rotation_is_told() -> None:
    """Once the old one has ended as it should."""
    gone = ending(0, retiring=NOW - 9)
    ledger = absorb(view(cluster(desired=1), [scheduler(), gone, node(1)], seen=[ended("n0", code=0)]), NOW)
    assert types(ledger) == ["ROTATED"]


def test_a_time_limit_that_was_met_is_no_failure() -> None:
    """The loss is told, and what is missing is launched at once."""
    of_one = cluster(desired=1, start_times=(5.0,))
    young_one = ending(0, -1, joined=NOW - 50, started=NOW - 60)
    ledger = absorb(view(of_one, [scheduler(), young_one], seen=[ended("n0", Cause.TIME_LIMIT)]), NOW)
    assert types(ledger) == ["WORKER_LOST"]
    assert ledger.cluster.groups[0].failures == 0
    assert list(decide(view(ledger.cluster, [scheduler()]), Chosen(), NOW).actions) == [LaunchNodes("default", 1)]


def test_a_late_handover_is_told_with_the_time_that_is_left() -> None:
    """The words name the workers and the seconds."""
    assert rotation.late_words([ending(0, 29), ending(1, 25)], NOW).startswith("n0-0, n1-0 end in 25 s and")


# over hours


def at_work(world: World) -> int:
    """Nodes that have joined and take tasks."""
    alive = [world.processes[key] for key in world.alive(Role.NODE)]
    return sum(process.joined and not process.leaving for process in alive)


def check(world: World, decided_on: View, need: int) -> None:
    """At every step: as many work as are desired, and nobody has two successors."""
    assert at_work(world) >= need
    active = [each for each in decided_on.nodes if each.retiring is None and each.stopping is None]
    assert sum(each.rotating is None for each in active) <= need
    assert len(world.alive(Role.NODE)) <= 2 * need


@settings(max_examples=25, deadline=None)
@given(
    need=st.integers(1, 4),
    each=st.integers(1, 2),
    queue=st.integers(0, 60),
    walltime=st.integers(400, 700),
    restarts=st.lists(st.integers(0, 1500), max_size=4),
    silences=st.lists(st.integers(0, 1500), max_size=2),
)
def test_a_cluster_outlives_its_jobs(
    need: int, each: int, queue: int, walltime: int, restarts: list[int], silences: list[int]
) -> None:
    """Whenever the daemon restarts or the scheduler is silent: nobody is missing, doubled, or ended by the limit."""
    world = World(young(desired=need * each, each=each))
    world.queue, world.walltime = queue, walltime
    for _ in range(queue + 10):
        world.tick()
    assert at_work(world) == need
    for n in range(1500):
        if n in restarts:
            world.restart_daemon()
        world.is_silent = any(0 <= n - begun < 20 for begun in silences)
        check(world, world.tick()[1], need)
    over = [process.end for process in world.processes.values() if process.end is not None]
    assert len(over) >= need
    assert {end.cause for end in over} == {Cause.EXITED}
    # each place was taken by one after the other
    assert len(over) <= need * (1500 // (walltime / 2) + 1)


def test_jobs_that_never_come_leave_the_old_ones_until_the_last() -> None:
    """Without successors a node works until shortly before its end, and then hands over what it can."""
    world = World(young(desired=2))
    world.walltime = 400
    for _ in range(10):
        world.tick()
    world.queue = 10_000
    worked = [at_work(world) for _ in range(500) if world.tick()]
    assert 350 <= worked.count(2) <= 375
    assert {end.end.cause for end in world.processes.values() if end.end is not None} == {Cause.EXITED}
    assert sum(process.end is None for process in world.processes.values()) == 3
