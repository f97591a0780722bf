"""Apply: the steps from a cluster as it is to one as its file says, and what no step leads to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskd.control.apply import applied
from daskd.control.desired import Bounds, Step, group_removed, new_group
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotRunning, GroupExists, LimitExceeded, SpecImmutable
from daskd.model.spec import AdaptivePolicy, ClusterSpec, HeldWorkPolicy, SchedulerSpec, WorkerGroupSpec

RELAXED = settings(deadline=None, max_examples=60)  # a loaded machine is no defect
BOUNDS = Bounds(group=50, cluster=80, adaptive=64)


def spec(*groups: WorkerGroupSpec, **fields: Any) -> ClusterSpec:
    """A spec of these groups."""
    return ClusterSpec(groups=groups, **fields)


def group(name: str, n: int = 0, **fields: Any) -> WorkerGroupSpec:
    """A group of n workers."""
    return WorkerGroupSpec(name=name, n_workers=n, memory_limit=1, **fields)


def cluster(of: ClusterSpec) -> Cluster:
    """A cluster that was created so."""
    groups = tuple(new_group(each, BOUNDS, 0.0) for each in of.groups)
    return Cluster("u1", "etl", "ann", 1000, of, 0.0, 0.0, groups=groups)


def apply(of: Cluster, wanted: ClusterSpec) -> Step:
    """What Ann applies."""
    return applied(of, wanted, actor="ann", bounds=BOUNDS, now=9.0)


policies = st.none() | st.builds(AdaptivePolicy, minimum=st.integers(0, 3))
groups = st.lists(
    st.builds(group, st.sampled_from("abcd"), st.integers(0, 9), adaptive=policies),
    min_size=1,
    unique_by=lambda each: each.name,
).map(lambda found: spec(*found))


@RELAXED
@given(groups, groups)
def test_what_was_applied_is_so_and_nothing_is_left_to_change(before: ClusterSpec, wanted: ClusterSpec) -> None:
    """The groups that stay are those of the file, with its counts and policies; a repeat is nothing."""
    after = apply(cluster(before), wanted).cluster
    staying = {each.name: each for each in after.groups if not each.removing}
    assert set(staying) == {each.name for each in wanted.groups}
    for each in wanted.groups:
        now = staying[each.name]
        assert (now.adaptive is None) == (each.adaptive is None)
        assert each.adaptive is not None or now.desired == each.n_workers
    assert apply(after, wanted) == Step(after)


@RELAXED
@given(groups)
def test_a_cluster_is_as_it_was_made(made: ClusterSpec) -> None:
    """The very spec of its creation changes nothing, in whatever order its groups stand."""
    present = cluster(made)
    assert apply(present, made) == Step(present)
    assert apply(present, made.model_copy(update={"groups": made.groups[::-1]})) == Step(present)


def test_changes_are_told_one_by_one() -> None:
    """Removed, scaled, added: an event each, in words that stand alone."""
    step = apply(cluster(spec(group("a", 1), group("b", 2))), spec(group("a", 3), group("c", 1)))
    assert [event.message for event in step.events] == [
        "group 'b': removed, 2 workers",
        "group 'a' shall have 3 workers instead of 1",
        "group 'c': added, 1 worker",
    ]


def test_all_groups_may_be_replaced_at_once() -> None:
    """The last one may go when another comes with it, and what goes is not counted beside what comes."""
    after = apply(cluster(spec(group("a", 50))), spec(group("b", 50))).cluster
    assert [(each.name, each.removing) for each in after.groups] == [("a", True), ("b", False)]


def test_the_count_of_an_adaptive_group_is_no_difference() -> None:
    """It is where it began."""
    adaptive = AdaptivePolicy(maximum=5)
    present = cluster(spec(group("a", 1, adaptive=adaptive)))
    assert apply(present, spec(group("a", 4, adaptive=adaptive))) == Step(present)


CREATED = {
    "python": "/usr/bin/python3",
    "environment": {"A": "secret"},
    "scheduler.preload": SchedulerSpec(preload=("x",)),
    "held_work.memory_share": HeldWorkPolicy(memory_share=0.1),
    "dashboard": False,
}


@pytest.mark.parametrize("field", CREATED)
def test_what_is_chosen_at_creation_stays(field: str) -> None:
    """Each field that differs is named, and no value of an environment."""
    present = cluster(spec(group("a")))
    with pytest.raises(SpecImmutable) as caught:
        apply(present, spec(group("a"), **{field.partition(".")[0]: CREATED[field]}))
    assert [problem.field for problem in caught.value.problems] == [field]
    assert "delete and create" in caught.value.words
    assert "secret" not in caught.value.words


def test_what_is_chosen_when_a_group_is_added_stays() -> None:
    """All that differs is told at once, by group; nothing of it is changed."""
    present = cluster(spec(group("a", nthreads=2), group("b")))
    with pytest.raises(SpecImmutable) as caught:
        apply(present, spec(group("a", 9, nthreads=1), group("b", environment={"A": "secret"})))
    assert [problem.field for problem in caught.value.problems] == ["groups.a.nthreads", "groups.b.environment"]
    assert "it is 2, and" in caught.value.problems[0].words
    assert "secret" not in caught.value.words


def test_no_profile_and_the_default_one_are_the_same() -> None:
    """A file may name it or not."""
    present = cluster(spec(group("a")))
    assert apply(present, spec(group("a"), profile="default")) == Step(present)


def test_more_than_is_allowed_is_refused_as_a_whole() -> None:
    """The bound holds for what comes of all changes together."""
    with pytest.raises(LimitExceeded):
        apply(cluster(spec(group("a", 40))), spec(group("a", 40), group("b", 41)))


def test_a_group_that_is_going_can_not_be_wanted_again() -> None:
    """Not until it is gone; a file without it has nothing to change."""
    wanted = spec(group("a"), group("b"))
    going = group_removed(cluster(wanted), "b", actor="ann").cluster
    with pytest.raises(GroupExists, match="still being removed"):
        apply(going, wanted)
    assert apply(going, spec(group("a"))) == Step(going)


def test_a_cluster_that_goes_takes_no_change() -> None:
    """Its end is not undone."""
    wanted = spec(group("a"))
    with pytest.raises(ClusterNotRunning, match="deleted by ann"):
        apply(replace(cluster(wanted), stop="deleted by ann"), wanted)
