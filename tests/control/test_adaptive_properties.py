"""What the adaptive policy promises of every cluster, tried on random ones."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import adaptive_strategies as some
import pytest
from adaptive_states import NOW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskd.control.adaptive import decide
from daskd.model.adaptive import (
    ClassRow,
    Decision,
    Group,
    Instance,
    InstanceState,
    Memory,
    PrefixRow,
    Reason,
    Snapshot,
    WorkerRow,
)
from daskd.model.adaptive_snapshot import BadSnapshot, parse_snapshot

tried = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def launched(decision: Decision, group: Group, start: float = NOW) -> list[Instance]:
    """The instances that a decision launches in a group."""
    count = decision.groups[group.name].launch
    return [Instance(f"{group.name}-new{n}", group.name, InstanceState.PENDING, start) for n in range(count)]


def count_of(state: dict[str, Any], group: Group) -> int:
    """Workers of a group, there or awaited."""
    alive = [i for i in state["instances"] if i.group == group.name and i.state is not InstanceState.ENDING]
    return len(alive) * group.workers_per_instance


@tried
@given(some.states(several=True))
def test_a_decision_is_a_function_of_its_arguments(state: dict[str, Any]) -> None:
    """Deciding again, from memory read back from JSON, decides the same, and changes nothing it was given."""
    before = copy.deepcopy(state)
    first = decide(**state)
    assert state == before
    restarted = {**state, "memory": Memory.from_json(json.loads(json.dumps(state["memory"].to_json())))}
    assert decide(**restarted) == first
    assert Memory.from_json(json.loads(json.dumps(first.memory.to_json()))) == first.memory


@tried
@given(some.states(several=True))
def test_bounds_hold_and_nobody_starts_and_shrinks_at_once(state: dict[str, Any]) -> None:
    """Never above the maximum, never below the minimum without a launch, never both ways in one decision."""
    decided = decide(**state)
    for group in state["groups"]:
        got, have = decided.groups[group.name], count_of(state, group)
        each = group.workers_per_instance
        assert have + got.launch * each <= max(group.maximum, have)
        gone = (len(got.cancel) + len(got.drain)) * each
        assert have + got.launch * each - gone >= group.whole(group.minimum) or gone == 0
        assert have + got.launch * each >= group.whole(group.minimum)
        assert not (got.launch and gone)
        assert got.target == have + got.launch * each - gone


@tried
@given(some.states(several=True), st.sampled_from([0.0, 0.5, 7.0, 70.0, 400.0, 9999.0]))
def test_what_was_launched_asks_for_nothing_more(state: dict[str, Any], later: float) -> None:
    """Seen as pending, at whatever age, a launch is answer enough to the same work."""
    quiet = tuple(replace(row, executing=0) for row in state["snapshot"].classes)
    state["snapshot"] = replace(state["snapshot"], classes=quiet, received=NOW)
    first = decide(**state)
    new = [item for group in state["groups"] for item in launched(first, group)]
    then = NOW + later
    second = decide(
        state["groups"],
        replace(state["snapshot"], received=then),
        state["instances"] + new,
        first.memory,
        then,
    )
    asked = {name: got.launch for name, got in second.groups.items()}
    if later:
        # a group may fill in for one that has meanwhile outlasted its patience
        filled_in = {name for name, got in second.groups.items() if got.code is Reason.FILL_IN}
        asked = {name: launch for name, launch in asked.items() if first.groups[name].launch and name not in filled_in}
    assert not any(asked.values())


def kept_for_good(rows: list[WorkerRow], group: Group, snapshot: Snapshot) -> bool:
    """Whether one of an instance's workers must not go."""
    least = group.policy.least_idle
    return any(
        row.long_running
        or row.actors
        or (row.idle and snapshot.idle_for(row, NOW) < least)
        or max(row.elapsed, row.expected) > group.policy.drain_max
        for row in rows
    )


@tried
@given(some.states(several=True))
def test_nothing_is_drained_that_must_stay(state: dict[str, Any]) -> None:
    """No long-running work, actor, briefly idle worker or long task is drained, nor a part of an instance."""
    decided = decide(**state)
    by_instance: dict[str, list[WorkerRow]] = {}
    for row in state["snapshot"].workers:
        by_instance.setdefault(row.instance or "", []).append(row)
    known = {item.id: item for item in state["instances"]}
    for group in state["groups"]:
        got = decided.groups[group.name]
        assert all(known[name].state is InstanceState.PENDING for name in got.cancel)
        assert all(known[name].state is InstanceState.RUNNING for name in got.drain)
        assert not any(kept_for_good(by_instance.get(name, []), group, state["snapshot"]) for name in got.drain)
        if got.drain or got.cancel:
            assert not state["snapshot"].graph_updates


@tried
@given(some.states(several=True))
def test_a_group_is_never_shrunk_below_twice_its_data(state: dict[str, Any]) -> None:
    """Whoever stays can hold all bytes of the group at half of its memory limit."""
    decided = decide(**state)
    for group in state["groups"]:
        got = decided.groups[group.name]
        ids = {i.id for i in state["instances"] if i.group == group.name}
        rows = [row for row in state["snapshot"].workers if row.instance in ids]
        stay = [row for row in rows if row.instance not in got.drain and row.status == "running"]
        held = sum(row.nbytes for row in rows)
        if got.drain and held and all(row.limit for row in stay):
            assert held <= 0.5 * sum(row.limit for row in stay)


@st.composite
def measured_states(draw: st.DrawFn) -> dict[str, Any]:
    """One group whose work is all measured, whose workers are plain and hold nothing."""
    state = draw(some.states())
    work = draw(some.workloads(measured=True))
    rows = tuple(replace(row, nbytes=0, unique=0, status="running") for row in state["snapshot"].workers)
    kind = replace(state["groups"][0], initial=0)
    said = replace(state["snapshot"], classes=work, workers=rows, received=NOW)
    return {**state, "groups": [kind], "snapshot": said}


@tried
@given(measured_states(), st.integers(0, 5), st.integers(1, 500))
def test_more_work_never_asks_for_less(state: dict[str, Any], which: int, more: int) -> None:
    """More tasks of any kind never lower what is launched."""
    work = list(state["snapshot"].classes)
    if not work:
        return
    at = which % len(work)
    first, *rest = work[at].rows
    work[at] = replace(work[at], ready=work[at].ready + more, rows=(replace(first, count=first.count + more), *rest))
    heavier = {**state, "snapshot": replace(state["snapshot"], classes=tuple(work))}
    assert decide(**heavier).groups["default"].launch >= decide(**state).groups["default"].launch


@tried
@given(measured_states(), st.booleans())
def test_more_supply_never_asks_for_more(state: dict[str, Any], is_running: bool) -> None:
    """One more instance, there or awaited, never raises what is launched."""
    kind = state["groups"][0]
    state_of = InstanceState.RUNNING if is_running else InstanceState.PENDING
    extra = Instance("extra", kind.name, state_of, NOW)
    richer = {**state, "instances": [*state["instances"], extra]}
    assert decide(**richer).groups["default"].launch <= decide(**state).groups["default"].launch


@tried
@given(measured_states(), st.integers(0, 5), st.booleans(), st.booleans())
def test_workers_of_a_fixed_count_never_ask_for_more(
    state: dict[str, Any], count: int, is_there: bool, is_preferred: bool
) -> None:
    """A group alike whose count is fixed, running or about to be launched, only ever lowers what is launched."""
    kind = state["groups"][0]
    each = kind.workers_per_instance
    alike = replace(kind, name="fixed", minimum=count * each, maximum=count * each, fixed=True, failing=False)
    there = [Instance(f"fixed-{n}", "fixed", InstanceState.RUNNING, NOW - 60) for n in range(count if is_there else 0)]
    groups = [alike, kind] if is_preferred else [kind, alike]
    got = decide(**{**state, "groups": groups, "instances": [*state["instances"], *there]})
    assert set(got.groups) == {"default"}
    assert got.groups["default"].launch <= decide(**state).groups["default"].launch


@tried
@given(measured_states(), st.sampled_from([0.1, 3.0, 40.0, 500.0]))
def test_a_longer_start_never_asks_for_more(state: dict[str, Any], longer: float) -> None:
    """The slower workers start, the fewer are started for the same work."""
    kind = state["groups"][0]
    slower = replace(
        kind,
        start_times=tuple(seconds + longer for seconds in kind.start_times),
        stated_start=kind.stated_start + longer,
    )
    got = decide(**{**state, "groups": [slower]}).groups["default"].launch
    assert got <= decide(**state).groups["default"].launch


@tried
@given(some.states(several=True), st.integers(1, 10**6))
def test_work_that_nobody_can_do_changes_nothing(state: dict[str, Any], count: int) -> None:
    """Unplaceable tasks are told, and everything else is decided as if they were not there."""
    state["snapshot"] = replace(state["snapshot"], received=NOW)
    lost = ClassRow(count, 0, (PrefixRow(count, 5.0, None),), resources=(("FPGA", 1.0),))
    said = replace(state["snapshot"], classes=(*state["snapshot"].classes, lost))
    without, with_it = decide(**state), decide(**{**state, "snapshot": said})
    assert with_it.groups == without.groups
    assert with_it.memory == without.memory
    extra = set(with_it.unplaceable) - set(without.unplaceable)
    assert [item.count for item in extra] == [count]


@tried
@given(some.states(several=True), st.booleans())
def test_without_word_nothing_but_the_minimum_happens(state: dict[str, Any], stale: bool) -> None:
    """A lost or stale snapshot neither ends nor starts anything beyond the minimum."""
    state["snapshot"] = replace(state["snapshot"], received=NOW - 60) if stale else None
    decided = decide(**state)
    for group in state["groups"]:
        got, have = decided.groups[group.name], count_of(state, group)
        missing = max(0, group.whole(group.minimum) - have)
        assert (got.launch * group.workers_per_instance, got.cancel, got.drain) == (missing, (), ())


@tried
@given(some.states(several=True))
def test_every_change_has_a_reason(state: dict[str, Any]) -> None:
    """Each group's decision says why, in one line."""
    for got in decide(**state).groups.values():
        assert got.reason
        assert "\n" not in got.reason


@tried
@given(some.states(), st.integers(1, 3))
def test_reasons_do_not_flicker_while_only_digits_move(state: dict[str, Any], more: int) -> None:
    """Where a few more tasks change no target at the maximum, the reason stays the same one."""
    kind = replace(state["groups"][0], initial=0)
    full = count_of(state, kind)
    kind = replace(kind, maximum=full, minimum=0)
    busy = ClassRow(9999, 1, (PrefixRow(9999, 5.0, None),))
    said = replace(state["snapshot"], classes=(busy,), received=NOW, graph_updates=0)
    one = {**state, "groups": [kind], "snapshot": said}
    two = {**one, "snapshot": replace(said, classes=(replace(busy, ready=busy.ready + more),))}
    assert decide(**one).groups["default"].news == decide(**two).groups["default"].news


# the snapshot is outside input


VALID = {
    "rev": 812,
    "t": 1790000000.2,
    "graph_updates": 0,
    "waiting": 400,
    "more_work": True,
    "classes": [
        {
            "resources": {},
            "hosts": [],
            "workers": [],
            "ready": 1000,
            "executing": 40,
            "rows": [[1000, 1.0, -1]],
        },
        {"resources": {"GPU": 1}, "ready": 60, "executing": 4, "rows": [[60, 10.1, 12.0]], "example": "g-1"},
    ],
    "workers": [["w-7", "i-2", "running", 1, 0, 0, 1200, 800, 4294967296, None, 3.1, 10.1]],
    "gone": [],
    "prefixes_left_out": 0,
}

HOSTILE = st.one_of(
    st.none(),
    st.sampled_from([-5, -0.5, 2**60, 10**400, float("nan"), float("inf"), -float("inf"), 1e300]),
    st.sampled_from(["", "x" * 5000, [], {}, [[]], [None] * 3, {"a": -1}, {"": 1}]),
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values within a JSON document."""
    found = [at] if at else []
    if isinstance(value, dict):
        found += [path for key, item in value.items() for path in paths(item, (*at, key))]
    elif isinstance(value, list):
        found += [path for n, item in enumerate(value) for path in paths(item, (*at, n))]
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with one value in another's place."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_a_runtimes_snapshot_is_read() -> None:
    """Every field of a snapshot as it is documented arrives."""
    said = parse_snapshot(VALID, received=5.0)
    assert (said.rev, said.waiting, said.more_work, said.received) == (812, 400, True, 5.0)
    assert said.classes[0].rows == (PrefixRow(1000, 1.0, None),)
    assert (said.classes[1].resources, said.classes[1].example) == ((("GPU", 1.0),), "g-1")
    assert said.workers == (WorkerRow("w-7", "i-2", "running", 1, 0, 0, 1200, 800, 4294967296, None, 3.1, 10.1),)


def test_changed_rows_are_laid_over_the_previous_snapshot() -> None:
    """Given the snapshot before, only changed workers need to be told, and those that are gone."""
    row = VALID["workers"][0]  # type: ignore[index]
    before = parse_snapshot({**VALID, "workers": [row, ["w-8", *row[1:]], ["w-9", *row[1:]]]})
    changed = ["w-7", "i-2", "paused", *row[3:]]
    after = parse_snapshot({**VALID, "workers": [changed], "gone": ["w-8"]}, previous=before)
    assert [(item.name, item.status) for item in after.workers] == [("w-7", "paused"), ("w-9", "running")]


@tried
@given(st.data())
def test_a_hostile_snapshot_is_refused_or_harmless(data: st.DataObject) -> None:
    """Any value in any place is either refused by name or makes a snapshot that can be decided on."""
    raw = put(VALID, data.draw(st.sampled_from(paths(VALID))), data.draw(HOSTILE))
    try:
        said: Snapshot | None = parse_snapshot(raw)
    except BadSnapshot:
        said = None
    decided = decide([Group("default", 10)], said, [], Memory(), 1790000000.2)
    assert 0 <= decided.groups["default"].launch <= 10


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("waiting",), -1),
        (("waiting",), True),
        (("t",), float("nan")),
        (("t",), "now"),
        (("classes", 0, "ready"), 2**60),
        (("classes", 0, "ready"), 1.5),
        (("classes", 0, "rows", 0), [1, 2]),
        (("classes", 0, "rows", 0, 1), -2),
        (("classes", 0, "rows"), [[1, 1, 1]] * 10_000),
        (("classes", 0, "zones"), ["a"]),
        (("classes", 1, "resources"), {}),
        (("workers", 0, 2), "sleeping"),
        (("workers", 0, 2), []),
        (("workers", 0, 6), 10**400),
        (("workers",), [VALID["workers"][0]] * 2),  # type: ignore[index]
        (("more_work",), 1),
    ],
    ids=str,
)
def test_a_lie_in_a_snapshot_is_refused(path: tuple[Any, ...], value: Any) -> None:
    """Negative, huge, not a number, of another type, unknown, doubled: refused with the field's name."""
    with pytest.raises(BadSnapshot, match=str(path[0])):
        parse_snapshot(put(VALID, path, value))


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_what_is_no_snapshot_at_all_is_refused(raw: object) -> None:
    """A document of another shape is refused."""
    with pytest.raises(BadSnapshot, match="not an object"):
        parse_snapshot(raw)
