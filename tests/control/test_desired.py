"""What users change of a cluster, as pure steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control.desired import (
    Bounds,
    Size,
    Step,
    adapted,
    check_counts,
    deleted,
    group_added,
    group_removed,
    scaled,
    unadapted,
)
from daskd.model.cluster import Adaptive, Cluster, Group
from daskd.model.errors import ClusterNotRunning, GroupExists, GroupNotFound, InvalidArgument, LimitExceeded
from daskd.model.spec import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

RELAXED = settings(deadline=None, max_examples=60)  # a loaded machine is no defect
GIB = 1 << 30
BOUNDS = Bounds(group=50, cluster=80, adaptive=64)


def cluster(*desired: int) -> Cluster:
    specs = tuple(
        WorkerGroupSpec(name=f"g{i}", n_workers=count, nthreads=4, memory_limit="3GiB")
        for i, count in enumerate(desired)
    )
    groups = tuple(Group(f"g{i}", desired=count) for i, count in enumerate(desired))
    return Cluster("u", "etl", "ann", 1, ClusterSpec(groups=specs), created=0, updated=0, groups=groups)


def following(of: Cluster, name: str, adaptive: Adaptive) -> Cluster:
    """The same with a policy in force for one group."""
    return replace(of, groups=tuple(replace(g, adaptive=adaptive) if g.name == name else g for g in of.groups))


@RELAXED
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.data())
def test_scaling_changes_one_count_and_tells_it_once(counts, data):
    """The group has the new count, the others theirs; there is one event exactly when something changed."""
    index = data.draw(st.integers(0, len(counts) - 1))
    count = data.draw(st.integers(0, 20))

    step = scaled(cluster(*counts), f"g{index}", Size(count), actor="ann", bounds=BOUNDS)

    assert [group.desired for group in step.cluster.groups] == [*counts[:index], count, *counts[index + 1 :]]
    assert [group.n_workers for group in step.cluster.spec.groups] == [group.desired for group in step.cluster.groups]
    assert len(step.events) == (count != counts[index])
    assert scaled(step.cluster, f"g{index}", Size(count), actor="ann", bounds=BOUNDS).events == ()


def test_scaling_down_is_allowed_over_the_limit():
    """A limit that was lowered later hinders no step towards it."""
    assert scaled(cluster(70), "g0", Size(60), actor="ann", bounds=BOUNDS).cluster.groups[0].desired == 60


def test_limits_count_whole_instances():
    """Of what is launched as one all workers are counted: for one that is asked for, all of its instance."""
    few = cluster(1)
    wide = few.spec.groups[0].model_copy(update={"name": "wide", "nodes": 13, "workers_per_node": 4, "n_workers": 1})
    with pytest.raises(LimitExceeded) as caught:
        group_added(few, wide, actor="ann", bounds=BOUNDS, now=1.0)
    assert caught.value.facts["asked"] == "52"
    fits = wide.model_copy(update={"nodes": 12})
    added = group_added(few, fits, actor="ann", bounds=BOUNDS, now=1.0).cluster
    assert scaled(added, "wide", Size(48), actor="ann", bounds=BOUNDS).cluster.group("wide").desired == 48
    with pytest.raises(LimitExceeded) as caught:
        scaled(added, "wide", Size(49), actor="ann", bounds=BOUNDS)
    assert caught.value.facts["asked"] == "96"


@pytest.mark.parametrize(("counts", "asked"), [([("a", 51)], "51"), ([("a", 45), ("b", 45)], "90")])
def test_counts_over_a_bound_are_refused(counts, asked):
    """The refusal has what was asked for, of the group or of the whole."""
    with pytest.raises(LimitExceeded) as caught:
        check_counts(counts, BOUNDS)

    assert caught.value.facts["asked"] == asked


@pytest.mark.parametrize(
    ("size", "workers"),
    [
        (Size(workers=3), 3),
        (Size(cores=8), 2),
        (Size(cores=9), 3),
        (Size(memory=6 * GIB), 2),
        (Size(memory=6 * GIB + 1), 3),
        (Size(memory=0), 0),
    ],
)
def test_a_size_is_rounded_up_to_whole_workers(size: Size, workers: int):
    """Of workers with 4 threads and 3 GiB each there are as many as it takes."""
    assert scaled(cluster(1), "g0", size, actor="ann", bounds=BOUNDS).cluster.groups[0].desired == workers


def test_memory_is_no_size_of_workers_without_a_limit():
    """It can't be divided; the refusal says what can be said instead."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(name="g0", memory_limit=0),))
    for change in (
        lambda: scaled(replace(cluster(1), spec=spec), "", Size(memory=GIB), actor="ann", bounds=BOUNDS),
        lambda: adapted(
            replace(cluster(1), spec=spec), "", AdaptivePolicy(maximum_memory=GIB), actor="ann", bounds=BOUNDS, now=1.0
        ),
    ):
        with pytest.raises(InvalidArgument, match=r"no memory limit .* how many workers"):
            change()


def test_a_policy_gets_the_lowest_maximum():
    """Without a maximum of its own, a policy has the lowest of the three bounds; the spec is as it was given."""
    step = adapted(cluster(1), "", AdaptivePolicy(), actor="ann", bounds=BOUNDS, now=5.0)

    assert step.cluster.groups[0].adaptive == Adaptive(AdaptivePolicy(maximum=50), since=5.0, target=1)
    assert step.cluster.groups[0].desired == 1
    assert step.cluster.spec.groups[0].adaptive == AdaptivePolicy()


@pytest.mark.parametrize(
    ("given", "minimum", "maximum"),
    [
        ({"minimum_cores": 9, "maximum_cores": 19}, 3, 4),
        ({"minimum_memory": 4 * GIB, "maximum_memory": 14 * GIB}, 2, 4),
        ({"minimum": 3, "minimum_cores": 4, "maximum": 9, "maximum_memory": 15 * GIB}, 3, 5),
    ],
)
def test_bounds_in_other_units_are_whole_workers(given, minimum, maximum):
    """Minima are rounded up and maxima down; the strictest holds."""
    step = adapted(cluster(1), "", AdaptivePolicy(**given), actor="ann", bounds=BOUNDS, now=5.0)

    policy = step.cluster.groups[0].adaptive.policy
    assert (policy.minimum, policy.maximum) == (minimum, maximum)


def test_bounds_that_leave_no_whole_worker_are_refused():
    """Two minima and maxima that contradict each other once they are in workers are told."""
    policy = AdaptivePolicy(minimum_cores=8, maximum_memory=5 * GIB)
    with pytest.raises(InvalidArgument, match="minimum 2 is more than the maximum 1"):
        adapted(cluster(1), "", policy, actor="ann", bounds=BOUNDS, now=5.0)


def test_a_changed_policy_keeps_what_was_decided():
    """The same group's target stands; another group's policy is not touched."""
    before = following(cluster(1, 2), "g0", Adaptive(AdaptivePolicy(maximum=9), since=1.0, target=3))

    same = adapted(before, "g0", AdaptivePolicy(maximum=5), actor="ann", bounds=BOUNDS, now=2.0).cluster
    other = adapted(before, "g1", AdaptivePolicy(maximum=5), actor="ann", bounds=BOUNDS, now=2.0).cluster

    assert same.group("g0").adaptive == Adaptive(AdaptivePolicy(maximum=5), since=2.0, target=3)
    assert other.group("g0") == before.group("g0")
    assert other.group("g1").adaptive.target == 2


def test_turning_off_keeps_the_counts():
    """Off is told with the count that stays; off again is nothing."""
    step = unadapted(following(cluster(7), "g0", Adaptive(AdaptivePolicy(), since=1.0)), "", actor="ann")

    assert step.cluster == cluster(7)
    assert "stays at 7 workers" in step.events[0].message
    assert unadapted(step.cluster, "", actor="ann").events == ()


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
        lambda: scaled(going, "", Size(2), actor="ann", bounds=BOUNDS),
        lambda: adapted(going, "", AdaptivePolicy(), actor="ann", bounds=BOUNDS, now=1.0),
        lambda: unadapted(going, "", actor="ann"),
    ):
        with pytest.raises(ClusterNotRunning, match=why):
            change()


HIGHMEM = WorkerGroupSpec(name="highmem", n_workers=2, resources={"MEM": 1.0})


def added(of: Cluster, spec: WorkerGroupSpec = HIGHMEM) -> Step:
    """A group added by Ann."""
    return group_added(of, spec, actor="ann", bounds=BOUNDS, now=5.0)


def test_a_group_is_added_once():
    """It has its count and its place after the others; a repeat is nothing."""
    step = added(cluster(1))

    assert step.cluster.groups[1] == Group("highmem", desired=2)
    assert step.cluster.spec.groups[1] == HIGHMEM
    assert [(event.type, event.message) for event in step.events] == [
        ("GROUP_ADDED", "group 'highmem': added, 2 workers")
    ]
    assert added(step.cluster) == Step(step.cluster)


def test_an_adaptive_group_is_added_with_its_policy_in_force():
    """Its bounds are in workers, since it was added; the spec is as it was given."""
    spec = HIGHMEM.model_copy(update={"adaptive": AdaptivePolicy(minimum=1)})

    group = added(cluster(1), spec).cluster.groups[1]

    assert group.adaptive == Adaptive(AdaptivePolicy(minimum=1, maximum=50), since=5.0)


def test_another_group_of_that_name_is_refused():
    """Of another spec, and of one that is just being removed, however alike."""
    before = added(cluster(1)).cluster
    with pytest.raises(GroupExists, match="another one"):
        added(before, HIGHMEM.model_copy(update={"nthreads": 2}))
    with pytest.raises(GroupExists, match="still being removed"):
        added(group_removed(before, "highmem", actor="ann").cluster)


@pytest.mark.parametrize(("n_workers", "asked"), [(51, "51"), (50, "90")])
def test_a_group_that_is_too_many_workers_is_not_added(n_workers, asked):
    """By itself, or with the others."""
    with pytest.raises(LimitExceeded) as caught:
        added(cluster(40), HIGHMEM.model_copy(update={"n_workers": n_workers}))

    assert caught.value.facts["asked"] == asked


def test_there_are_only_so_many_groups():
    """One more than the limit is refused."""
    with pytest.raises(LimitExceeded, match="50 are allowed"):
        added(cluster(*[0] * 50))


def test_a_removed_group_is_to_have_no_worker():
    """Its policy is off and its count 0, and it stays on record until it is gone; a repeat is nothing."""
    before = following(cluster(1, 2), "g1", Adaptive(AdaptivePolicy(maximum=9), since=1.0, target=3))

    step = group_removed(before, "g1", actor="ann")

    assert step.cluster.groups[1] == Group("g1", desired=0, removing=True)
    assert step.cluster.spec.groups[1].adaptive is None
    assert step.events[0].type == "GROUP_REMOVAL_REQUESTED"
    assert group_removed(step.cluster, "g1", actor="bob") == Step(step.cluster)


@pytest.mark.parametrize(("group", "words"), [("", "name the worker group"), ("g0", "scale it to 0")])
def test_the_last_group_and_no_group_can_not_be_removed(group, words):
    """One that is being removed does not count as one that stays."""
    before = group_removed(cluster(1, 2), "g1", actor="ann").cluster
    with pytest.raises(InvalidArgument, match=words):
        group_removed(before, group, actor="ann")


def test_a_group_that_goes_takes_no_change():
    """It is neither scaled nor adapted; without a name the first one that stays is meant."""
    going = group_removed(cluster(1, 2), "g0", actor="ann").cluster
    for change in (
        lambda: scaled(going, "g0", Size(workers=1), actor="ann", bounds=BOUNDS),
        lambda: adapted(going, "g0", AdaptivePolicy(), actor="ann", bounds=BOUNDS, now=1.0),
        lambda: unadapted(going, "g0", actor="ann"),
    ):
        with pytest.raises(GroupNotFound, match="is being removed"):
            change()
    after = scaled(going, "", Size(workers=7), actor="ann", bounds=BOUNDS).cluster
    assert [group.desired for group in after.groups] == [0, 7]
