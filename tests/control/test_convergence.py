"""Whatever happens to a cluster, it comes to be as desired, and nothing is lost or doubled on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from cluster_states import after, young
from cluster_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control.absorb import absorb
from daskd.control.plan import Cancel, LaunchNodes, LaunchScheduler, Plan, Retire, Terminate
from daskd.control.view import View
from daskd.model.cluster import Phase, Record, Role

PATIENCE = 500
"""Ticks within which all is well again: the longest wait is the back-off of a minute, once for each try."""


def scale(world: World, n: int) -> None:
    """A user wants another number of workers."""
    groups = tuple(replace(group, desired=n) for group in world.cluster.groups)
    world.cluster = replace(world.cluster, groups=groups)


def kill(world: World, n: int) -> None:
    """Something dies."""
    alive = [*world.alive(Role.SCHEDULER), *world.alive(Role.NODE)]
    if alive:
        world.kill(alive[n % len(alive)])


def crash(world: World, n: int) -> None:
    """The daemon dies amid its next launches, and comes back."""
    world.does_crash = True
    world.tick()
    world.does_crash = False
    world.restart_daemon()


def silence(world: World, n: int) -> None:
    """The scheduler does not answer for a while."""
    world.is_silent = True
    for _ in range(n):
        check(world, *world.tick())
    world.is_silent = False


def restart(world: World, n: int) -> None:
    """The daemon is started again."""
    world.restart_daemon()


def refuse(world: World, n: int) -> None:
    """Workers refuse the next retirements."""
    world.refusals = n


def resist(world: World, n: int) -> None:
    """What runs heeds no gentle word."""
    for process in world.processes.values():
        process.stubborn = True


happenings = st.lists(
    st.tuples(
        st.sampled_from([scale, kill, crash, silence, restart, refuse, resist]), st.integers(0, 6), st.integers(0, 5)
    ),
    max_size=8,
)


def check(world: World, seen: View, decided_on: View, plan: Plan) -> None:
    """What must hold at every step."""
    assert len(world.alive(Role.SCHEDULER)) <= 1
    ledger = absorb(seen, world.now)
    again = absorb(after(seen, ledger), world.now)
    assert (again.changed, again.events, again.cluster) == ((), [], ledger.cluster)
    if decided_on.hears or decided_on.cluster.stop:
        return
    for action in plan.actions:
        assert not isinstance(action, (Cancel, Retire))
        if isinstance(action, Terminate):
            asked = {i.id for i in decided_on.instances if i.stopping is not None}
            assert set(action.ids) <= asked, "ended unheard"


def happen(world: World, what: list[tuple[Callable[[World, int], None], int, int]]) -> None:
    """Let it happen, with some ticks after each."""
    for happening, n, ticks in what:
        happening(world, n)
        for _ in range(ticks):
            check(world, *world.tick())


def rest(world: World, is_done: Callable[[], bool]) -> None:
    """Tick until it is done."""
    for _ in range(PATIENCE):
        check(world, *world.tick())
        if is_done():
            return
    pytest.fail(f"not done: {world.cluster}, {world.instances}, {world.processes}")


def is_as_desired(world: World) -> bool:
    """Whether exactly what is desired runs and has joined, and the record says so."""
    group, each = world.cluster.groups[0], world.cluster.spec.groups[0].workers_per_node
    need = -(-group.desired // each)
    nodes = world.alive(Role.NODE)
    return (
        world.cluster.phase is Phase.RUNNING
        and set(world.instances) == {*world.alive(Role.SCHEDULER), *nodes}
        and all(i.record is Record.ACCEPTED and not i.retiring and not i.stopping for i in world.instances.values())
        and len(nodes) == need
        and all(world.processes[key].joined for key in nodes)
        and group.running == need * each
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5), st.integers(1, 3), happenings)
def test_a_cluster_comes_to_be_as_desired(
    desired: int, each: int, what: list[tuple[Callable[..., None], int, int]]
) -> None:
    """After any crashes, deaths, silences and refusals exactly what is desired runs, and then nothing is done."""
    world = World(young(desired=desired, each=each))
    happen(world, what)
    rest(world, lambda: is_as_desired(world))
    for _ in range(20):
        _, _, plan = world.tick()
        assert plan.actions == ()
    assert is_as_desired(world)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5), happenings, happenings)
def test_a_stop_leaves_nothing(
    desired: int,
    before: list[tuple[Callable[..., None], int, int]],
    meanwhile: list[tuple[Callable[..., None], int, int]],
) -> None:
    """Whatever happens before and during it, the cluster ends, and nothing that was launched runs on."""
    world = World(young(desired=desired))
    happen(world, before)
    world.cluster = replace(world.cluster, stop="deleted by ann")
    happen(world, [item for item in meanwhile if item[0] is not scale])
    rest(world, lambda: world.cluster.ended is not None)
    assert world.cluster.phase is Phase.STOPPED
    assert world.alive(Role.SCHEDULER) == world.alive(Role.NODE) == []
    assert world.instances == {}


def test_a_scale_down_that_a_daemons_death_interrupted_moves_data_first() -> None:
    """The next daemon, which has not yet heard the scheduler, takes no worker with data for one that waits."""
    world = World(young(desired=3))
    rest(world, lambda: is_as_desired(world))
    scale(world, 1)
    world.restart_daemon()
    world.is_silent = True
    for _ in range(100):
        assert world.tick()[2].actions == ()
    world.is_silent = False
    (action,) = world.tick()[2].actions
    assert isinstance(action, Retire)
    assert len(action.ids) == 2


def test_one_that_cannot_be_launched_is_tried_ever_less_often() -> None:
    """While others run on, each try of the one that fails comes later, up to a minute."""
    world = World(young(desired=2))
    rest(world, lambda: is_as_desired(world))
    scale(world, 3)
    launches = []
    for _ in range(400):
        _, _, plan = world.tick()
        launches += [world.now for action in plan.actions if isinstance(action, LaunchNodes)]
        for key in world.alive(Role.NODE):
            if world.processes[key].born < 1:
                world.kill(key)
    waits = [later - earlier for earlier, later in itertools.pairwise(launches)]
    assert waits[:6] == sorted(waits[:6])
    assert len(waits) > 6
    assert all(wait >= 45 for wait in waits[6:])


def test_a_cluster_that_was_never_touched_launches_once() -> None:
    """One scheduler, and all nodes in one batch."""
    world = World(young(desired=4, each=2))
    done = [action for _ in range(20) for action in world.tick()[2].actions]
    assert done == [LaunchScheduler(""), LaunchNodes("default", 2)]
