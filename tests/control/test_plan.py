"""What is done next, state by state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import (
    ADDRESS,
    LONG_AGO,
    NOW,
    POLICY,
    at_hub,
    cluster,
    heard,
    node,
    nodes,
    scheduler,
    silent,
    unsure,
    view,
    waiting,
    young,
)

from daskd.control.plan import (
    JOIN_PATIENCE,
    Action,
    Cancel,
    Chosen,
    LaunchNodes,
    LaunchScheduler,
    Plan,
    Retire,
    Terminate,
    decide,
)
from daskd.control.settings import Settings
from daskd.control.view import HubView, View
from daskd.model.cluster import Group, Instance, Record, State
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

SETTINGS = Settings()
NOBODY = Chosen()


def actions(of: View, chosen: Chosen = NOBODY, now: float = NOW) -> list[Action]:
    return list(decide(of, chosen, now).actions)


@pytest.mark.parametrize("record", [Record.UNSURE, Record.INTENDED])
def test_nothing_is_launched_beside_a_scheduler_that_may_have_been(record: Record) -> None:
    """A scheduler that may or may not have been launched is neither doubled nor given workers."""
    assert actions(view(young(desired=2), [unsure(scheduler(), record=record)])) == []


def test_a_new_cluster_gets_its_scheduler_before_its_nodes() -> None:
    """Without a scheduler there is one thing to do."""
    assert actions(view(young(desired=2))) == [LaunchScheduler("")]


def test_nodes_are_launched_while_the_scheduler_starts() -> None:
    """Workers need not wait until the scheduler answers."""
    starting = scheduler(joined=None, launched=NOW - 1, state=State.STARTING)
    assert actions(view(young(desired=2), [starting])) == [LaunchNodes("default", 2)]


def test_no_nodes_are_launched_for_a_scheduler_that_is_being_ended() -> None:
    """A scheduler that failed to start takes no nodes with it."""
    ending = scheduler(joined=None, stopping=NOW - 1)
    assert actions(view(young(desired=2), [ending])) == []


@pytest.mark.parametrize(
    ("restarts", "wait"),
    [((0.0,), 0.0), ((-3.0, 0.0), 1.0), ((-9.0, -6.0, 0.0), 2.0), ((-99.0,) * 7 + (0.0,), 30.0), ((-900.0, 0.0), 0.0)],
)
def test_a_scheduler_is_restarted_at_once_and_then_ever_later(restarts: tuple[float, ...], wait: float) -> None:
    """The first restart within the window is at once, each further one waits twice as long, 30 s at most."""
    dead = view(cluster(scheduler={"restarts": tuple(NOW + t for t in restarts)}))
    assert actions(dead, now=NOW + wait + 0.01) != []
    if wait:
        assert actions(dead, now=NOW + wait - 0.01) == []
        assert 0.05 <= decide(dead, Chosen(), NOW).again <= wait


@pytest.mark.parametrize(("times", "address"), [(1, ADDRESS), (3, ADDRESS), (4, "")])
def test_a_scheduler_keeps_its_address_until_that_seems_taken(times: int, address: str) -> None:
    """Clients find it again at its old address; after four restarts within a minute it gets another."""
    dead = view(cluster(scheduler={"restarts": tuple(NOW - 40 - t for t in range(times))}))
    assert actions(dead) == [LaunchScheduler(address)]


@pytest.mark.parametrize(("age", "ends"), [(SETTINGS.start_timeout - 1, False), (SETTINGS.start_timeout, True)])
def test_a_scheduler_that_never_answers_is_ended_as_a_failure(age: float, ends: bool) -> None:
    """Silence from the first failed to start, and the link's trouble is told."""
    mute = scheduler(joined=None, launched=NOW - age)
    trouble = HubView(instance="s", trouble="connection refused")
    (*_, last) = [None, *actions(view(young(), [mute], trouble))]
    assert (last is not None) == ends
    if ends:
        assert isinstance(last, Terminate)
        assert last.ids == ("s",)
        assert "connection refused" in last.fault


@pytest.mark.parametrize("fields", [{}, {"hub": HubView()}, {"hub": HubView(instance="s", trouble="timed out")}])
def test_a_scheduler_that_answered_once_is_never_ended_for_silence(fields: dict[str, Any]) -> None:
    """A busy loop is not a dead one."""
    assert actions(view(cluster(), [scheduler()], **fields)) == []


@pytest.mark.parametrize(
    ("desired", "each", "have", "launches"),
    [(0, 1, 0, 0), (3, 1, 1, 2), (4, 2, 0, 2), (5, 2, 0, 3), (5, 2, 2, 1), (1, 8, 0, 1), (6, 3, 2, 0)],
)
def test_whole_instances_are_launched(desired: int, each: int, have: int, launches: int) -> None:
    """As many instances as hold what is desired, and none more."""
    there = [scheduler(), *nodes(have, each=each)]
    expected = [LaunchNodes("default", launches)] if launches else []
    assert actions(view(cluster(desired, each), there)) == expected


@pytest.mark.parametrize(
    "one",
    [
        waiting(),
        unsure(node()),
        node(state=State.PAUSED),
        node(state=State.UNKNOWN),
        node(state=State.QUEUED, joined=None),
        unsure(node(), record=Record.ABANDONED),
    ],
    ids=["starting", "unsure", "paused", "unknown", "queued", "given up, not yet fenced"],
)
def test_what_may_yet_come_is_not_replaced(one: Instance) -> None:
    """Unknown is a state, and no second instance is launched for it."""
    assert not any(isinstance(action, LaunchNodes) for action in actions(view(cluster(1), [scheduler(), one])))


@pytest.mark.parametrize(
    "one", [node(retiring=NOW - 1), node(stopping=NOW - 1), node(stopping=NOW - 1, state=State.ENDING)]
)
def test_what_leaves_no_longer_counts(one: Instance) -> None:
    """A scale-up while others leave launches anew."""
    assert LaunchNodes("default", 1) in actions(view(cluster(1), [scheduler(), one]))


@pytest.mark.parametrize(("retry_at", "launches"), [(NOW + 5, False), (NOW, True), (NOW - 5, True), (None, True)])
def test_after_a_failure_the_next_launch_waits(retry_at: float | None, launches: bool) -> None:
    """The back-off holds, and the loop looks again when it is over."""
    waits = view(cluster(1, failures=1, retry_at=retry_at), [scheduler()])
    assert bool(actions(waits)) == launches
    if not launches:
        assert decide(waits, Chosen(), NOW).again == 5.0


def test_groups_are_decided_one_by_one() -> None:
    """One group's surplus is no other group's workers."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(), WorkerGroupSpec(name="big", workers_per_node=2)))
    two = replace(cluster(), spec=spec, groups=(Group("default", desired=0), Group("big", desired=3)))
    there = [scheduler(), node(0), node(1, each=2, group="big")]
    assert actions(view(two, there)) == [Retire(("n0",)), LaunchNodes("big", 1)]


@pytest.mark.parametrize(("desired", "each", "gone"), [(2, 1, 1), (0, 1, 3), (4, 2, 1), (3, 2, 1), (5, 2, 0)])
def test_a_surplus_is_retired_by_whole_instances(desired: int, each: int, gone: int) -> None:
    """What is asked for stays, be it a part of an instance."""
    plan = actions(view(cluster(desired, each), [scheduler(), *nodes(3, each=each)]))
    retired = [action for action in plan if isinstance(action, Retire)]
    assert plan == retired
    assert sum(len(action.ids) for action in retired) == gone


@pytest.mark.parametrize(("desired", "launched"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_instances_of_several_nodes_are_launched_whole(desired: int, launched: int) -> None:
    """Two nodes of two workers each are launched as one, and as many as give the workers that are wanted."""
    assert actions(view(cluster(desired, 2, nodes=2), [scheduler()])) == [LaunchNodes("default", launched)]


@pytest.mark.parametrize(("desired", "gone"), [(8, 1), (9, 0), (5, 1), (4, 2), (0, 3)])
def test_instances_of_several_nodes_are_retired_whole(desired: int, gone: int) -> None:
    """What is left are no fewer workers than are wanted, and no part of an instance goes."""
    plan = actions(view(cluster(desired, 2, nodes=2), [scheduler(), *nodes(3, each=4)]))
    assert sum(len(action.ids) for action in plan if isinstance(action, Retire)) == gone


def test_what_waits_goes_before_what_runs() -> None:
    """A launch that is no longer wanted is cancelled, and no worker with data goes in its place."""
    assert actions(view(cluster(2), [scheduler(), *nodes(2), waiting(2)])) == [Cancel(("n2",))]


@pytest.mark.parametrize(
    "hub",
    [HubView(), HubView(instance="s"), silent(heard(at_hub(nodes(3)))), heard(at_hub(nodes(3)), instance="another")],
    ids=["none", "never answered", "silent", "another scheduler's"],
)
def test_nobody_is_let_go_while_the_scheduler_is_not_heard(hub: HubView) -> None:
    """A daemon that just started knows of no worker yet, and takes none with data for one that waits."""
    assert actions(view(cluster(1), [scheduler(), *nodes(3)], hub)) == []


@pytest.mark.parametrize(("ago", "picked"), [(0.0, False), (29.0, False), (30.0, True), (-3600.0, True)])
def test_who_refused_to_retire_is_left_in_peace_for_a_while(ago: float, picked: bool) -> None:
    """A refusal holds for 30 s, and does not hold for ever when the clock is set back."""
    reluctant = view(cluster(0), [scheduler(), node()], refused={"n0": NOW - ago})
    assert actions(reluctant) == ([Retire(("n0",))] if picked else [])


def test_another_goes_in_place_of_one_that_refuses() -> None:
    """One worker's refusal does not stop the scale-down."""
    assert actions(view(cluster(1), [scheduler(), *nodes(2)], refused={"n0": NOW - 1})) == [Retire(("n1",))]


def test_retirement_is_asked_again_while_workers_are_there() -> None:
    """A daemon that restarted goes on with the retirement that it began; one that asked just now waits."""
    leaving = [scheduler(), node(retiring=NOW - 60)]
    assert actions(view(cluster(), leaving)) == [Retire(("n0",))]
    assert actions(view(cluster(), leaving, asked={"n0": NOW - 9})) == []
    assert actions(view(cluster(), leaving, asked={"n0": NOW - 10})) == [Retire(("n0",))]


@pytest.mark.parametrize(
    ("hub", "ends"),
    [
        (heard(), True),
        (replace(heard(), heard=NOW - 61), False),
        (replace(heard(), heard=NOW - 60), False),
        (replace(heard(), heard=NOW + 60), False),
        (silent(heard()), False),
        (heard(instance="another"), False),
        (HubView(), False),
        (heard(at_hub([node(each=2)])[:1]), False),
    ],
    ids=["empty", "old", "as old", "of a clock since set back", "silent", "another's", "none", "half"],
)
def test_a_retired_node_is_ended_on_the_schedulers_word_alone(hub: HubView, ends: bool) -> None:
    """Only a scheduler that answers, and was heard after the retirement began, can say that its workers are gone."""
    leaving = view(cluster(), [scheduler(), node(each=2, retiring=NOW - 60)], hub, asked={"n0": NOW})
    assert actions(leaving) == ([Terminate(("n0",))] if ends else [])


def test_who_is_asked_to_end_is_not_asked_to_retire() -> None:
    """Once it was told to end nothing else is asked of it."""
    assert actions(view(cluster(), [scheduler(), node(retiring=NOW - 60, stopping=NOW - 1)])) == []


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Chosen(), []),
        (Chosen(frozenset({"default"})), []),
        (Chosen(frozenset({"default"}), drain=("n2",), rev=7), [Retire(("n2",), 7)]),
        (Chosen(frozenset({"default"}), drain=("n2",), busy=frozenset({"n2"}), rev=7), [Retire(("n2",))]),
        (
            Chosen(frozenset({"default"}), drain=("n2", "n1"), busy=frozenset({"n1"}), rev=7),
            [Retire(("n2",), 7), Retire(("n1",))],
        ),
        (Chosen(frozenset({"default"}), cancel=("n3",), drain=("n2",), rev=7), [Cancel(("n3",)), Retire(("n2",), 7)]),
        (
            Chosen(frozenset({"default"}), cancel=("n3",), drain=("n2", "n1"), rev=7),
            [Cancel(("n3",)), Retire(("n2",), 7)],
        ),
        (Chosen(frozenset({"default"}), drain=("n9",)), []),
    ],
    ids=[
        "no decision",
        "nobody",
        "one",
        "a busy one",
        "an idle and a busy one",
        "cancel first",
        "never below what is desired",
        "one that is gone",
    ],
)
def test_an_adaptive_group_shrinks_by_choice_alone(chosen: Chosen, expected: list[Action]) -> None:
    """Whom the policy does not name stays, and no more go than are too many."""
    there = [scheduler(), *nodes(3), waiting(3)]
    assert actions(view(cluster(2, adaptive=POLICY), there), chosen) == expected


def test_no_more_launches_are_cancelled_than_are_too_many() -> None:
    """A policy that chose before a user asked for more does not undo what was asked."""
    chosen = Chosen(frozenset({"default"}), cancel=("n0", "n1"))
    assert actions(view(cluster(1, adaptive=POLICY), [scheduler(), waiting(0), waiting(1)]), chosen) == [
        Cancel(("n0",))
    ]


def test_who_failed_to_join_is_one_of_those_that_are_too_many() -> None:
    """Nobody else goes in its place."""
    late = waiting(3, state=State.RUNNING, launched=NOW - BOUND)
    plan = actions(view(cluster(2), [scheduler(), *nodes(3), late]))
    assert [(type(action), len(action.ids)) for action in plan if isinstance(action, (Retire, Terminate))] == [
        (Terminate, 1),
        (Retire, 1),
    ]


def test_an_adaptive_group_grows_and_waits_like_any_other() -> None:
    """What the policy desires is launched, after the back-off, and nobody goes meanwhile."""
    grown = cluster(3, adaptive=POLICY)
    chosen = Chosen(frozenset({"default"}), drain=("n0",))
    assert actions(view(grown, [scheduler(), node()]), chosen) == [LaunchNodes("default", 2)]
    failing = cluster(3, adaptive=POLICY, failures=2, retry_at=NOW + 1)
    assert actions(view(failing, [scheduler(), node()]), chosen) == []


BOUND = SETTINGS.join_timeout + JOIN_PATIENCE


@pytest.mark.parametrize(
    ("one", "ends"),
    [
        (waiting(state=State.RUNNING, launched=NOW - BOUND), True),
        (waiting(state=State.STARTING, pid=12, launched=NOW - BOUND), True),
        (waiting(state=State.RUNNING, launched=NOW - BOUND + 1), False),
        (waiting(state=State.STARTING, launched=NOW - BOUND), False),
        (waiting(state=State.QUEUED, launched=NOW - BOUND), False),
        (waiting(state=State.PAUSED, launched=NOW - BOUND), False),
        (waiting(state=State.UNKNOWN, launched=NOW - BOUND), False),
        (node(launched=NOW - BOUND), False),
    ],
    ids=["running", "hangs", "in time", "no process yet", "queued", "paused", "unknown", "has joined"],
)
def test_a_node_that_runs_and_never_joins_is_ended_as_a_failure(one: Instance, ends: bool) -> None:
    """A launch whose node has not reached the scheduler in time failed; one that waits for its place did not."""
    plan = actions(view(cluster(1), [scheduler(), one]))
    assert [action.ids for action in plan if isinstance(action, Terminate) and action.fault] == [("n0",)] * ends
    assert len(plan) == ends


def test_a_node_is_given_its_time_from_when_the_scheduler_is_up() -> None:
    """A node that was there before the scheduler is not late."""
    late = cluster(1)
    late = replace(late, scheduler=replace(late.scheduler, started=NOW - 5))
    assert actions(view(late, [scheduler(), waiting(state=State.RUNNING, launched=LONG_AGO)])) == []


def test_a_late_node_is_not_replaced_before_its_failure_is_counted() -> None:
    """Its end and a launch in the same breath would know no back-off; and nobody else goes for it."""
    late = waiting(3, state=State.RUNNING, launched=NOW - BOUND)
    plan = actions(view(cluster(3), [scheduler(), *nodes(3), late]))
    assert [type(action) for action in plan] == [Terminate]


def test_what_was_given_up_is_fenced() -> None:
    """It is asked for at the scheduler that it might join; while that is silent, it waits."""
    lost = unsure(node(), record=Record.ABANDONED)
    there = view(cluster(1), [scheduler(), lost])
    assert actions(there) == [Cancel(("n0",))]
    assert actions(replace(there, hub=silent(there.hub))) == []
    assert actions(view(cluster(1), [scheduler(), replace(lost, stopping=NOW)])) == [LaunchNodes("default", 1)]


def test_an_ended_cluster_needs_nothing() -> None:
    """No action, and no hurry."""
    assert decide(view(cluster(4, ended=NOW - 1)), Chosen(), NOW) == Plan((), 60.0)


def test_a_cluster_that_is_as_desired_needs_nothing() -> None:
    """Equal is equal, and the next look is ten seconds off."""
    assert decide(view(cluster(3), [scheduler(), *nodes(3)]), Chosen(), NOW) == Plan((), 10.0)
