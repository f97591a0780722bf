"""What users change of a cluster, as pure steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control.desired import Bounds, adapted, check_counts, deleted, scaled, unadapted
from daskd.model.cluster import Adaptive, Cluster, Group
from daskd.model.errors import ClusterNotRunning, LimitExceeded
from daskd.model.spec import AdaptivePolicy, ClusterSpec

RELAXED = settings(deadline=None, max_examples=60)  # a loaded machine is no defect
BOUNDS = Bounds(group=50, cluster=80, adaptive=64)


def cluster(*desired: int) -> Cluster:
    groups = tuple(Group(f"g{i}", desired=count) for i, count in enumerate(desired))
    return Cluster("u", "etl", "ann", 1, ClusterSpec(), created=0, updated=0, groups=groups)


@RELAXED
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.data())
def test_scaling_changes_one_count_and_tells_it_once(counts, data):
    """The group has the new count, the others theirs; there is one event exactly when something changed."""
    index = data.draw(st.integers(0, len(counts) - 1))
    count = data.draw(st.integers(0, 20))

    step = scaled(cluster(*counts), f"g{index}", count, actor="ann", bounds=BOUNDS)

    assert [group.desired for group in step.cluster.groups] == [*counts[:index], count, *counts[index + 1 :]]
    assert len(step.events) == (count != counts[index])
    assert scaled(step.cluster, f"g{index}", count, actor="ann", bounds=BOUNDS).events == ()


def test_scaling_down_is_allowed_over_the_limit():
    """A limit that was lowered later hinders no step towards it."""
    assert scaled(cluster(70), "g0", 60, actor="ann", bounds=BOUNDS).cluster.groups[0].desired == 60


@pytest.mark.parametrize(("counts", "asked"), [([("a", 51)], "51"), ([("a", 45), ("b", 45)], "90")])
def test_counts_over_a_bound_are_refused(counts, asked):
    """The refusal has what was asked for, of the group or of the whole."""
    with pytest.raises(LimitExceeded) as caught:
        check_counts(counts, BOUNDS)

    assert caught.value.facts["asked"] == asked


def test_a_policy_gets_the_lowest_maximum():
    """Without a maximum of its own, a policy has the lowest of the three bounds, and its group's name."""
    step = adapted(cluster(1), AdaptivePolicy(), actor="ann", bounds=BOUNDS, now=5.0)

    assert step.cluster.adaptive == Adaptive(AdaptivePolicy(maximum=50, group="g0"), since=5.0, target=1)
    assert step.cluster.groups[0].desired == 1


def test_a_changed_policy_remembers_what_it_learnt():
    """The same group's memory is kept; another group's is not taken over."""
    before = replace(
        cluster(1, 2), adaptive=Adaptive(AdaptivePolicy(group="g0", maximum=9), since=1.0, target=3, memory={"k": 1})
    )

    same = adapted(before, AdaptivePolicy(maximum=5), actor="ann", bounds=BOUNDS, now=2.0)
    other = adapted(before, AdaptivePolicy(maximum=5, group="g1"), actor="ann", bounds=BOUNDS, now=2.0)

    assert (same.cluster.adaptive.memory, same.cluster.adaptive.target) == ({"k": 1}, 3)
    assert (other.cluster.adaptive.memory, other.cluster.adaptive.target) == ({}, 2)


def test_turning_off_keeps_the_counts():
    """Off is told with the count that stays; off again is nothing."""
    step = unadapted(replace(cluster(7), adaptive=Adaptive(AdaptivePolicy(group="g0"), since=1.0)), actor="ann")

    assert step.cluster == cluster(7)
    assert "stays at 7 workers" in step.events[0].message
    assert unadapted(step.cluster, actor="ann").events == ()


def test_delete_is_asked_for_once():
    """The first asker stands in the record; a repeat by another changes nothing."""
    step = deleted(cluster(1), actor="ann")

    assert step.cluster.stop == "deleted by ann"
    assert deleted(step.cluster, actor="bob").cluster == step.cluster


@pytest.mark.parametrize("ending", [{"stop": "idle for 1 h"}, {"failed": True, "message": "no memory"}, {"ended": 9.0}])
def test_a_cluster_that_goes_takes_no_change(ending):
    """Whatever its end is, it is neither scaled nor adapted any more, and the refusal says why it ends."""
    going = replace(cluster(1), **ending)
    why = ending.get("stop") or ending.get("message") or "has ended"

    for change in (
        lambda: scaled(going, "", 2, actor="ann", bounds=BOUNDS),
        lambda: adapted(going, AdaptivePolicy(), actor="ann", bounds=BOUNDS, now=1.0),
        lambda: unadapted(going, actor="ann"),
    ):
        with pytest.raises(ClusterNotRunning, match=why):
            change()
