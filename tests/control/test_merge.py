"""Two writers of one record: whatever the API changes while a pass goes on, neither loses what the other wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster_states import NOW, POLICY, cluster
from hypothesis import given
from hypothesis import strategies as st

from daskd.control.merge import merge
from daskd.model.cluster import Adaptive, Cluster, Group, Held, Phase
from daskd.model.spec import AdaptivePolicy

counts = st.integers(0, 5)
policies = st.sampled_from([None, POLICY, replace(POLICY, since=NOW), Adaptive(AdaptivePolicy(maximum=3), since=NOW)])


def _with(of: Cluster, desired: tuple[int, ...]) -> Cluster:
    return replace(of, groups=tuple(replace(g, desired=n) for g, n in zip(of.groups, desired, strict=True)))


befores = st.builds(
    lambda first, second, adaptive, other: replace(
        cluster(),
        groups=(Group("default", desired=first, adaptive=adaptive), Group("big", desired=second, adaptive=other)),
    ),
    counts,
    counts,
    policies,
    policies,
)

observations = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(Phase),
        "reason": st.sampled_from(["", "SCHEDULER_SILENT"]),
        "message": st.text(max_size=5),
        "ended": st.sampled_from([None, NOW]),
        "failed": st.booleans(),
        "held": st.builds(Held, counts, counts, counts),
        "idle_since": st.sampled_from([None, NOW]),
        "event_seq": counts,
        "stop": st.sampled_from(["", "shut down by a client"]),
    }
)


@st.composite
def passes(draw: st.DrawFn) -> tuple[Cluster, Cluster]:
    """A record as a pass read it, and what it made of it."""
    before = draw(befores)
    after = replace(before, **draw(observations))
    seen = [replace(g, failures=draw(counts), pending=draw(counts), running=draw(counts)) for g in after.groups]
    for n, group in enumerate(before.groups):
        if group.adaptive is not None:
            # as the adaptive policy does: its group's desired count, its target, and its memory of all
            target = draw(counts)
            seen[n] = replace(seen[n], desired=target, adaptive=replace(group.adaptive, target=target, decided=NOW))
            after = replace(after, adaptive_memory={"n": 1})
    return before, replace(after, groups=tuple(seen))


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """What the API may change meanwhile."""
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "stop": st.just("deleted by ann"),
                "adaptive": st.tuples(policies, policies),
                "desired": st.tuples(counts, counts),
                "next_ordinal": counts,
            },
        )
    )


def changed(before: Cluster, change: dict[str, Any]) -> Cluster:
    """The record as the API left it."""
    fields = dict(change)
    desired = fields.pop("desired", tuple(group.desired for group in before.groups))
    policies = fields.pop("adaptive", tuple(group.adaptive for group in before.groups))
    now = _with(before, desired)
    groups = tuple(replace(g, adaptive=policy) for g, policy in zip(now.groups, policies, strict=True))
    return replace(now, groups=groups, revision=before.revision + 1, **fields)


@given(passes(), changes())
def test_what_the_api_wrote_is_never_lost(written: tuple[Cluster, Cluster], change: dict[str, Any]) -> None:
    """Counts, policies and stops that were set while a pass went on stand after it."""
    before, after = written
    current = changed(before, change)
    merged = merge(current, before, after)
    assert merged.stop == (current.stop or after.stop)
    assert merged.next_ordinal == max(current.next_ordinal, after.next_ordinal)
    for was, now, result in zip(before.groups, current.groups, merged.groups, strict=True):
        if now.adaptive != was.adaptive:
            assert (result.adaptive, result.desired) == (now.adaptive, now.desired)
        if now.desired != was.desired:
            assert result.desired == now.desired


@given(passes(), changes())
def test_what_a_pass_observed_is_never_lost(written: tuple[Cluster, Cluster], change: dict[str, Any]) -> None:
    """Phase, failures, counts, what is held: all that the API does not write is as the pass left it."""
    before, after = written
    merged = merge(changed(before, change), before, after)
    api = ("stop", "groups", "next_ordinal")
    assert replace(merged, **{name: getattr(after, name) for name in api}) == after
    for seen, result in zip(after.groups, merged.groups, strict=True):
        assert replace(result, desired=seen.desired, adaptive=seen.adaptive) == seen


@given(passes())
def test_a_pass_that_nobody_disturbed_is_written_as_it_is(written: tuple[Cluster, Cluster]) -> None:
    """The adaptive decision included."""
    before, after = written
    assert merge(before, before, after) == after


def test_a_scale_to_the_same_count_still_turns_the_policy_off() -> None:
    """Its decision of the same moment is void, though the count that was asked for is the one that stood."""
    before = cluster(5, adaptive=POLICY)
    (group,) = before.groups
    after = replace(before, groups=(replace(group, desired=9, adaptive=replace(POLICY, target=9)),))
    (merged,) = merge(replace(before, groups=(replace(group, adaptive=None),)), before, after).groups
    assert (merged.adaptive, merged.desired) == (None, 5)


def test_a_group_that_came_meanwhile_is_there() -> None:
    """Which groups there are is the API's word, whatever a pass had read."""
    before = cluster(5)
    current = replace(before, groups=(*before.groups, Group("big", desired=2)))
    (kept, added) = merge(current, before, _with(before, (5,))).groups
    assert (kept.name, added) == ("default", Group("big", desired=2))


def test_a_group_whose_last_instance_a_pass_saw_end_is_no_more() -> None:
    """What a pass dropped is gone from groups and spec; one that the API added meanwhile stays in both."""
    spec = cluster().spec.groups[0]
    old, new = (spec.model_copy(update={"name": name}) for name in ("old", "new"))
    before = replace(
        cluster(),
        spec=cluster().spec.model_copy(update={"groups": (spec, old)}),
        groups=(Group("default"), Group("old", removing=True)),
    )
    after = replace(before, groups=before.groups[:1], spec=cluster().spec)
    current = replace(
        before,
        spec=before.spec.model_copy(update={"groups": (spec, old, new)}),
        groups=(*before.groups, Group("new", desired=2)),
    )
    merged = merge(current, before, after)
    assert [group.name for group in merged.groups] == ["default", "new"]
    assert merged.spec.groups == (spec, new)


def test_a_removal_that_was_asked_for_meanwhile_stands() -> None:
    """A pass that read the group as it was, adaptive and wanted, does not bring it back."""
    before = cluster(5, adaptive=POLICY)
    (group,) = before.groups
    after = replace(before, groups=(replace(group, desired=9, adaptive=replace(POLICY, target=9)),))
    current = replace(before, groups=(replace(group, desired=0, adaptive=None, removing=True),))
    (merged,) = merge(current, before, after).groups
    assert (merged.desired, merged.adaptive, merged.removing) == (0, None, True)
