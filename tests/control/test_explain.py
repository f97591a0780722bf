"""Why a cluster is as it is, in sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from adaptive_states import snapshot, tasks
from cluster_states import (
    LONG_AGO,
    NOW,
    POLICY,
    SETTINGS,
    at_hub,
    cluster,
    heard,
    node,
    nodes,
    scheduler,
    view,
    waiting,
    young,
)

from daskd.control.explain import Known, explain
from daskd.control.link import RetireProgress
from daskd.control.policy import groups_of
from daskd.control.view import HubView, View
from daskd.model.adaptive import Decision, GroupDecision, Memory, Snapshot
from daskd.model.cluster import Cluster, Group, Held, Phase, State, Unplaceable
from daskd.model.event import Event
from daskd.model.spec import ClusterSpec, OnIdle
from daskd.model.views import Explanation, GroupExplanation, WaitingView, WorkerState

STARTS = {"local": 0.5}


def event(type_: str, message: str, ago: float, actor: str = "ann", **facts: str) -> Event:
    """Something that happened so many seconds ago."""
    return Event(1, NOW - ago, "u1", "etl", "ann", actor, type_, message, facts)


def explained(of: View, said: Snapshot | None = None, **fields: Any) -> Explanation:
    """The explanation of a cluster that is seen so."""
    return explain(Known(of, groups_of(of.cluster, SETTINGS, STARTS), said, **fields), NOW)


def group_of(of: View, **fields: Any) -> GroupExplanation:
    """That of its first group."""
    return explained(of, **fields).groups[0]


def lived(**fields: Any) -> Cluster:
    """A cluster with these fields of its spec."""
    return cluster(idle_since=NOW - 600, spec=ClusterSpec(**fields))


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (young(), "nothing was started yet"),
        (young(phase=Phase.STARTING, message="its scheduler starts; refused"), "refused"),
        (cluster(), "it runs"),
        (cluster(phase=Phase.STOPPING, stop="deleted by ann", message="deleted by ann"), "being ended: deleted by ann"),
        (cluster(phase=Phase.FAILED, ended=NOW, stop="x", message="no such Python"), "it failed: no such Python"),
    ],
    ids=["pending", "starting", "running", "stopping", "failed"],
)
def test_the_phase_is_said_first(of: Cluster, words: str) -> None:
    """Whatever phase it is in, the first sentence says so, with its message."""
    assert words in explained(view(of)).reasons[0]


def test_a_scheduler_that_is_silent_or_was_lost_is_told() -> None:
    """Since when nothing was heard and what that means; how often it was started again."""
    of = cluster(scheduler={"heard": NOW - 42, "restarts": (NOW - 100, NOW - 90)})
    reasons = explained(view(of, [scheduler()], HubView("s", trouble="timed out"))).reasons
    assert "its scheduler has not answered for 42 s (timed out): until it does, nothing shrinks" in reasons
    assert "its scheduler was started again after it died, 2 times, the last 90 s ago" in reasons


def test_facts_that_cannot_be_had_are_told() -> None:
    """Where the policy lacks the scheduler's facts, that is why nothing changes."""
    reasons = explained(view(cluster(), [scheduler()]), snapshot_trouble="waiting: not a number").reasons
    assert any("nothing is decided: waiting: not a number" in reason for reason in reasons)


def test_work_that_nobody_can_run_is_a_reason() -> None:
    """The record's sentence is said."""
    of = cluster(unplaceable=(Unplaceable(5, "GPU 1", "t-1", "5 tasks need GPU 1: no group has it"),))
    assert "5 tasks need GPU 1: no group has it" in explained(view(of)).reasons


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (lived(idle_timeout=3600), "idle for 10 min: it ends in 50 min unless something is computed"),
        (lived(idle_timeout=3600, on_idle=OnIdle.SCALE_TO_ZERO), "its groups are scaled to no worker in 50 min"),
        (replace(lived(idle_timeout=3600), idle_since=None), "not idle: something is computed or waits"),
        (lived(max_lifetime=10_800.0), "it ends in 120 min, whatever it does: its lifetime is 3 h"),
        (replace(lived(idle_timeout=60), held=Held(1, 3, 84)), "3 results or tasks (84 B) of lost clients are kept"),
    ],
    ids=["idle", "to zero", "busy", "lifetime", "held"],
)
def test_what_ends_it_and_when_is_told(of: Cluster, words: str) -> None:
    """Idle time-out and lifetime with what is left of them, and what keeps it from being idle."""
    assert any(words in reason for reason in explained(view(of, [scheduler()])).reasons)


def test_a_count_is_explained_by_who_set_it() -> None:
    """The last who scaled the group, not who made the cluster; another group's change is none of its own."""
    history = [
        event("CREATED", "created by ann", 900),
        event("SCALED", "group 'default' shall have 2 workers instead of 1", 60, "bob", group="default"),
        event("SCALED", "group 'other' shall have 9 workers", 30, group="other"),
        event("ADAPTED_TO", "up 0 to 2", 10, "daskd", group="default"),
    ]
    got = group_of(view(cluster(desired=2), [scheduler(), *nodes(2)]), history=history)
    assert (got.target, got.decided_by) == (2, "count")
    assert got.reasons == ("bob, 60 s ago: group 'default' shall have 2 workers instead of 1",)


def test_an_adaptive_group_is_explained_by_the_last_decision() -> None:
    """The decision's own words come first; before there is one, that is said."""
    of = cluster(desired=4, groups=(Group("default", desired=4, adaptive=POLICY),))
    reason = "steady at the maximum of 4: 212 tasks are ready"
    decision = Decision({"default": GroupDecision(4, reason=reason)}, (), Memory())
    got = group_of(view(of, [scheduler()]), decision=decision, said=snapshot(tasks(212)))
    assert (got.decided_by, got.reasons[0], got.ready_tasks) == ("adaptive", reason, 212)
    assert "nothing was decided yet" in group_of(view(of, [scheduler()])).reasons[0]


def test_a_failing_group_says_when_it_is_tried_again_and_why_it_fails() -> None:
    """Failed launches in a row, the seconds until the next, the driver's words."""
    of = cluster(desired=1, failures=3, retry_at=NOW + 12)
    words = "the last 3 launches failed, the next try is in 12 s: it is broken"
    assert group_of(view(of, [scheduler()])).reasons[0] == words


def test_nothing_is_launched_before_the_scheduler_is_up() -> None:
    """That is why there are no workers yet."""
    assert "launched once the scheduler is up" in group_of(view(young(desired=2))).reasons[0]


def test_what_is_on_its_way_is_told_with_what_it_waits_for() -> None:
    """Those that wait for the same stand together, with the system's words and the longest wait."""
    queued = [waiting(n, state=State.QUEUED, launched=NOW - 30 + n, words="Resources") for n in range(2)]
    got = group_of(view(cluster(desired=3), [scheduler(), *queued, waiting(2)]))
    assert got.waiting == (
        WaitingView(2, 2, WorkerState.QUEUED, "Resources", NOW - 30),
        WaitingView(1, 1, WorkerState.STARTING, "it starts, and has not reached the scheduler yet", NOW - 1),
    )


def test_what_retires_ends_or_refuses_is_told() -> None:
    """How far a retirement is, what was asked to end, and who stays for what reason."""
    going, ending, staying = node(0, retiring=NOW - 5), node(1, stopping=NOW - 2), node(2)
    said = (
        *at_hub([going], retire=RetireProgress(state="draining", words="waits at most 60 s for what runs on it")),
        *at_hub([staying], retire=RetireProgress(state="refused", words="1 actors live on it")),
    )
    got = group_of(view(cluster(), [scheduler(), going, ending, staying], heard(said)))
    assert got.waiting == (
        WaitingView(1, 1, WorkerState.RETIRING, "waits at most 60 s for what runs on it", NOW - 5),
        WaitingView(1, 1, WorkerState.ENDING, "it was asked to end", NOW - 2),
    )
    assert "n2-0 was asked to retire and stays: 1 actors live on it" in got.reasons


def test_whose_walltime_is_nearly_over_is_told() -> None:
    """Why there are more workers than are wanted: the next to end, and how many there are of its kind."""
    over = [node(n, expected_end=NOW + 40 + n, rotating=NOW - 30) for n in (1, 0)]
    got = group_of(view(cluster(desired=2), [scheduler(), *over, *nodes(2, first=2)]))
    assert "the walltime of n0-0 and 1 more is nearly over, in 40 s: others take their place" in got.reasons


def test_a_group_that_is_removed_aims_at_nothing() -> None:
    """Who removes a group is asked for no other reason."""
    of = cluster(groups=(Group("default", desired=2, removing=True),))
    got = group_of(view(of, [scheduler(), *nodes(2)]))
    assert (got.target, got.decided_by) == (0, "removing")
    assert "it is being removed" in got.reasons[0]


def test_a_worker_that_is_gone_from_its_node_is_awaited() -> None:
    """A node that has joined and whose worker is not at the scheduler starts it again."""
    got = group_of(view(cluster(desired=1), [scheduler(), node()], heard()))
    assert got.waiting[0].reason.startswith("it has run before")
    assert got.waiting[0].since == LONG_AGO
