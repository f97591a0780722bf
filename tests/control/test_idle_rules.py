"""What becomes of a cluster that has been idle for its time-out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import LONG_AGO, NOW, POLICY, at_hub, cluster, node, nodes, scheduler, state

from daskd.control.idle import is_overdue, kept, scaled_down, told
from daskd.model.cluster import Adaptive, Cluster, Group
from daskd.model.spec import AdaptivePolicy, ClusterSpec, OnIdle, WorkerGroupSpec

GIB = 1 << 30


def idle(*groups: Group, **fields: Any) -> Cluster:
    """A cluster that has been idle for an hour, and may be for a minute."""
    specs = tuple(
        WorkerGroupSpec(
            name=group.name,
            n_workers=group.desired,
            memory_limit=GIB,
            adaptive=group.adaptive.policy if group.adaptive else None,
        )
        for group in groups
    )
    spec = ClusterSpec(groups=specs, idle_timeout=60, on_idle=OnIdle.SCALE_TO_ZERO)
    return cluster(spec=spec, groups=groups, **{"idle_since": LONG_AGO, **fields})


def whole(desired: int, name: str = "default", **fields: Any) -> Group:
    """A group that has the workers that it should have."""
    return Group(name, desired=desired, running=desired, **fields)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (idle(whole(2)), True),
        (idle(whole(0)), True),
        (idle(whole(2), idle_since=None), False),
        (idle(whole(2), idle_since=NOW - 59), False),
        (idle(whole(2), stop="deleted by ann"), False),
        (idle(whole(2), scheduler={"heard": NOW - 5}), False),
        (idle(whole(2, last_join=NOW - 59)), False),
        (idle(replace(whole(2), pending=1)), False),
        (idle(replace(whole(2), running=1)), False),
        (idle(Group("default", desired=2, failures=3)), True),
        (idle(whole(2), Group("more", desired=1)), False),
    ],
)
def test_what_is_overdue(of: Cluster, expected: bool) -> None:
    """Idle for its time, heard of, and with all the workers that it asked for: one just scaled up has not been idle."""
    assert is_overdue(of, NOW) is expected


@pytest.mark.parametrize(
    ("in_memory", "managed", "expected"),
    [(0, 0, 0), (1, 1, 1), (1, GIB // 10, 1), (5, GIB // 3, 2), (5, 2 * GIB, 10)],
)
def test_results_that_are_wanted_keep_workers(in_memory: int, managed: int, expected: int) -> None:
    """So many workers stay as hold what is in memory at the share at which Dask begins to spill."""
    some = nodes(3)
    said = state(at_hub(some, managed=managed), tasks={"memory": in_memory})
    assert kept(idle(whole(3)), said, [scheduler(), *some]) == {"default": expected}


def test_each_group_keeps_room_for_what_it_holds() -> None:
    """A group without results keeps nobody, whatever the others hold."""
    a, b = node(0), node(1, group="more")
    said = state([*at_hub([a], managed=0), *at_hub([b], managed=5)], tasks={"memory": 1})
    assert kept(idle(whole(1), whole(1, "more")), said, [a, b]) == {"default": 0, "more": 1}


def test_fixed_groups_lose_their_workers_and_the_spec_says_so() -> None:
    """Nobody is wanted any more but those that are kept; and no group grows."""
    after = scaled_down(idle(whole(3), whole(4, "more")), {"default": 0, "more": 9})
    assert [group.desired for group in after.groups] == [0, 4]
    assert [group.n_workers for group in after.spec.groups] == [0, 4]


def test_adaptive_groups_go_by_their_own_policy() -> None:
    """Their count is left to the policy, which does not wait for the first work any more."""
    waiting = Adaptive(AdaptivePolicy(minimum=1, maximum=5, initial=4), since=LONG_AGO, target=4)
    of = idle(whole(4, adaptive=waiting), whole(2, "more", adaptive=POLICY))
    after = scaled_down(of, {})
    assert [group.desired for group in after.groups] == [4, 2]
    assert after.groups[0].adaptive == replace(waiting, policy=AdaptivePolicy(minimum=1, maximum=5))
    assert after.spec.groups[0].adaptive == AdaptivePolicy(minimum=1, maximum=5)
    assert after.groups[1] is of.groups[1]


def test_it_is_told_once() -> None:
    """The event says what changed and how to have workers again; nothing is told when nothing is left to do."""
    of = idle(whole(3))
    after = scaled_down(of, {"default": 0})
    (event,) = told(of, after)
    assert event.type == "IDLE_SCALED"
    assert "daskctl scale etl N" in event.message
    assert "idle timeout of 1 min" in event.message
    assert (event.facts["from.default"], event.facts["to.default"]) == ("3", "0")
    assert scaled_down(after, {"default": 0}) is after
    assert told(after, after) == ()


def test_an_end_is_told_as_one() -> None:
    """A cluster that ends for its idleness says so, and nothing of scaling."""
    of = idle(whole(3))
    events = told(of, replace(of, stop="idle for its idle timeout of 1 min"))
    assert [event.type for event in events] == ["IDLE_TIMEOUT"]
