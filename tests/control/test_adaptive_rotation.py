"""The adaptive policy where instances have an end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import adaptive_strategies as some
import cluster_states as states
from adaptive_states import NOW, group, pending, running, snapshot, tasks
from hypothesis import given
from hypothesis import strategies as st
from test_adaptive_properties import launched, tried

from daskd.control import policy as adapting
from daskd.control.adaptive import decide
from daskd.control.ledger import Ledger
from daskd.model.adaptive import Group, GroupDecision, Instance, InstanceState, Memory, Reason, Snapshot

SLOW = group(start_times=(40.0,))
"""Starts take 40 s: 1.5 times that, 30 s and an interval before its end an instance is no supply any more."""

WINDOW = 1.5 * 40 + 30 + 1


def one(said: Snapshot | None, instances: list[Instance], of: Group = SLOW) -> GroupDecision:
    """The decision about a single group."""
    return decide([of], said, instances, Memory(), NOW).groups["default"]


def ends(instance: Instance, left: float, **fields: Any) -> Instance:
    """The instance with so many seconds left."""
    return replace(instance, expected_end=NOW + left, **fields)


def test_who_ends_before_long_is_succeeded_while_there_is_work() -> None:
    """As many are started as end within a start and a half, and what it takes to leave."""
    instances, rows = running(4, processing=1)
    instances[:2] = [ends(instances[0], WINDOW - 1), ends(instances[1], WINDOW + 1)]
    busy = snapshot(tasks(4, 300.0, executing=4), workers=rows)
    got = one(busy, instances)
    assert (got.launch, got.leaving, got.target) == (1, ("r0",), 4)
    assert got.reason.startswith("up 3 to 4, 1 more end before long: ")
    came = [*instances, *pending(1, age=10.0)]
    assert (one(busy, came).launch, one(busy, came).target) == (0, 4)


def test_long_tasks_and_unique_data_bring_the_moment_forward() -> None:
    """By twice the longest task and twice the time that the data takes, up to five minutes."""
    instances, rows = running(2, processing=1, expected=50.0, unique=10**9, nbytes=10**9)
    assert one(snapshot(workers=rows), [ends(instances[0], WINDOW + 89), instances[1]]).leaving == ("r0",)
    assert one(snapshot(workers=rows), [ends(instances[0], WINDOW + 91), instances[1]]).leaving == ()


def test_half_of_its_life_counts_whatever_a_start_takes() -> None:
    """Where the queue is longer than the walltime not all that comes is leaving at once."""
    waits = group(start_times=(3600.0,))
    [instance], rows = running(1, processing=1)
    young = ends(replace(instance, started=NOW - 100), 200)
    assert one(snapshot(workers=rows), [young], waits).leaving == ()
    assert one(snapshot(workers=rows), [replace(young, started=NOW - 210)], waits).leaving == ("r0",)


def test_who_is_not_needed_is_not_succeeded() -> None:
    """Without work and data nobody is started for who ends, and it counts no more."""
    instances, rows = running(1)
    got = one(snapshot(workers=rows), [ends(instances[0], 60)])
    assert (got.launch, got.target, got.leaving) == (0, 0, ("r0",))


def test_results_that_are_nowhere_else_get_a_successor() -> None:
    """As many as they fill to a half, at most one for each that leaves."""
    instances, rows = running(3, nbytes=10**9, unique=10**9)
    leaving = [ends(each, 60) for each in instances]
    got = one(snapshot(workers=rows), leaving)
    assert (got.launch, got.code) == (2, Reason.UP_SUCCESSOR)
    assert got.reason == "up 0 to 2, 3 more end before long: 3 GB move from them"
    full = [replace(row, nbytes=4 * 10**9) for row in rows]
    assert one(snapshot(workers=full), leaving).launch == 3
    assert one(snapshot(workers=[replace(row, unique=0) for row in rows]), leaving).launch == 0


def test_the_maximum_bounds_what_does_not_end() -> None:
    """All successors may be started beside who leaves, and no more."""
    instances, rows = running(3, processing=1)
    many = snapshot(tasks(500, 60.0, executing=3), workers=rows)
    assert one(many, [ends(each, 60) for each in instances], replace(SLOW, maximum=3)).launch == 3


def test_without_word_nobody_new_is_leaving() -> None:
    """Who was leaving still is, and all else is as it was."""
    instances, _ = running(3)
    known = [ends(instances[0], 60, rotating=True), ends(instances[1], 60), instances[2]]
    got = one(None, known, replace(SLOW, minimum=2))
    assert (got.launch, got.target, got.leaving) == (0, 2, ())


def test_the_decision_marks_who_leaves_in_the_record() -> None:
    """What the next decision, and the next daemon, is told."""
    kind = states.cluster(desired=1, adaptive=states.POLICY, start_times=(5.0,))
    node = states.node(0, started=states.LONG_AGO, expected_end=NOW + 30)
    view = states.view(kind, [states.scheduler(), node])
    ledger = Ledger(kind, view.instances)
    adapting.apply(ledger, view, snapshot(), Memory(), starts={}, now=NOW, beat=False)
    assert states.of(ledger, "n0").rotating == NOW
    marked = states.after(view, ledger)
    later = Ledger(ledger.cluster, marked.instances)
    adapting.apply(later, marked, snapshot(at=NOW + 1), Memory(), starts={}, now=NOW + 1, beat=False)
    assert later.changed == ()


@st.composite
def ending(draw: st.DrawFn, **fields: Any) -> dict[str, Any]:
    """Any cluster some of whose instances have an end, or were leaving already."""
    state = draw(some.states(several=True))
    state["snapshot"] = replace(state["snapshot"], received=NOW)
    left = st.sampled_from([None, None, 5.0, 40.0, 120.0, 600.0, 1e4])
    state["instances"] = [
        replace(
            each,
            expected_end=None if (rest := draw(left)) is None else NOW + rest,
            rotating=each.state is InstanceState.RUNNING and draw(st.sampled_from([False, False, True])),
            **fields,
        )
        for each in state["instances"]
    ]
    return state


@tried
@given(ending())
def test_bounds_hold_beside_who_leaves(state: dict[str, Any]) -> None:
    """What is not leaving stays within the bounds; who leaves is neither drained by the policy nor forgotten."""
    decided = decide(**state)
    for kind in state["groups"]:
        got, each = decided.groups[kind.name], kind.workers_per_instance
        alive = [i for i in state["instances"] if i.group == kind.name and i.state is not InstanceState.ENDING]
        have = sum(i.id not in got.leaving for i in alive) * each
        assert {i.id for i in alive if i.rotating} <= set(got.leaving) <= {i.id for i in alive}
        assert not set(got.leaving) & {*got.drain, *got.cancel}
        assert have + got.launch * each <= max(kind.maximum, have)
        assert have + got.launch * each >= kind.whole(kind.minimum)
        assert got.target == have + (got.launch - len(got.cancel) - len(got.drain)) * each


@tried
@given(ending(), st.sampled_from([0.0, 1.0, 30.0]))
def test_nobody_is_succeeded_twice(state: dict[str, Any], later: float) -> None:
    """What was launched for who leaves is answer enough, as long as nobody else comes to leave."""
    quiet = tuple(replace(row, executing=0) for row in state["snapshot"].classes)
    state["snapshot"] = replace(state["snapshot"], classes=quiet)
    first = decide(**state)
    leaving = {key for got in first.groups.values() for key in got.leaving}
    then = [
        replace(each, expected_end=None, rotating=each.rotating or each.id in leaving) for each in state["instances"]
    ]
    new = [item for kind in state["groups"] for item in launched(first, kind)]
    now = NOW + later
    said = replace(state["snapshot"], received=now)
    second = decide(state["groups"], said, then + new, first.memory, now)
    for name, got in second.groups.items():
        before = first.groups[name]
        # for data alone was launched then; work that another group could not take, and nobody knows, comes on top
        grows = before.code is Reason.UP_SUCCESSOR and got.code is Reason.UP_GUESS
        if before.launch and got.code is not Reason.FILL_IN and not grows:
            assert not got.launch


@tried
@given(ending())
def test_data_of_who_leaves_finds_a_place(state: dict[str, Any]) -> None:
    """Where results would be lost with who leaves, somebody is there or asked for, if the maximum has room."""
    decided = decide(**state)
    for kind in state["groups"]:
        got = decided.groups[kind.name]
        held = any(row.unique for row in state["snapshot"].workers if row.instance in got.leaving)
        if held and kind.ceiling:
            assert got.target > 0
