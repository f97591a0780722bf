"""What an end means: whether it is a failure, what is told, when the next try is, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import (
    ADDRESS,
    LONG_AGO,
    NOW,
    after,
    at_hub,
    cluster,
    ended,
    fact,
    heard,
    node,
    nodes,
    of,
    scheduler,
    types,
    view,
    waiting,
    young,
)

from daskd.control.absorb import absorb
from daskd.control.backoff import FIRST, MOST, delay
from daskd.control.failures import fail
from daskd.control.ledger import Ledger
from daskd.control.view import HubView, View
from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Group, Held, Instance, Record, State
from daskd.model.spec import OnSchedulerLoss

KILLED = {"cause": Cause.SIGNAL, "signal": 9}


def node_ends(one: Instance, end: Observation, **fields: Any) -> Ledger:
    """A pass that sees a node's end; two others run all along."""
    start = fields.pop("start_times", (1.0,))
    there = [scheduler(), *nodes(2, first=5), one]
    return absorb(view(cluster(3, start_times=start, **fields), there, seen=[end]), NOW)


@pytest.mark.parametrize(
    ("joined", "end", "failures", "told"),
    [
        (None, {"code": 1}, 1, ["WORKER_START_FAILED"]),
        (None, KILLED, 1, ["WORKER_START_FAILED"]),
        (None, {"cause": Cause.OUT_OF_MEMORY}, 1, ["WORKER_START_FAILED"]),
        (None, {"cause": Cause.VANISHED}, 1, ["WORKER_START_FAILED"]),
        (None, {"cause": Cause.PREEMPTED}, 0, ["WORKER_LOST"]),
        (None, {"cause": Cause.CANCELLED}, 0, ["WORKER_LOST"]),
        (None, {"code": 83}, 0, []),
        (None, {"code": 85}, 0, []),
        (5.0, KILLED, 1, ["WORKER_LOST"]),
        (5.0, {"cause": Cause.PREEMPTED}, 0, ["WORKER_LOST"]),
        (5.0, {"cause": Cause.NODE_LOST}, 0, ["WORKER_LOST"]),
        (5.0, {"cause": Cause.TIME_LIMIT}, 0, ["WORKER_LOST"]),
        (5.0, {"code": 85}, 0, ["WORKER_LOST"]),
        (3600.0, KILLED, 0, ["WORKER_LOST"]),
        (3600.0, {"code": 1}, 0, ["WORKER_LOST"]),
        (3600.0, {"cause": Cause.OUT_OF_MEMORY}, 0, ["WORKER_LOST"]),
    ],
)
def test_which_end_of_a_node_is_a_failure(
    joined: float | None, end: dict[str, Any], failures: int, told: list[str]
) -> None:
    """One that came too soon and was its own; what the system or the scheduler did to it says nothing of the next."""
    one = node(joined=None if joined is None else NOW - joined)
    ledger = node_ends(one, ended("n0", **end))
    assert (of(ledger, "n0").state, ledger.cluster.group("default").failures) == (State.ENDED, failures)
    assert types(ledger) == told
    assert not ledger.cluster.failed


def test_how_long_a_node_lived_is_told_by_its_end() -> None:
    """A node that lived for seconds and died while the daemon was away failed, however late that is seen."""
    one = node(launched=LONG_AGO, joined=LONG_AGO + 1)
    assert node_ends(one, ended("n0", code=1, ended=LONG_AGO + 4)).cluster.group("default").failures == 1
    assert node_ends(one, ended("n0", code=1, ended=NOW - 4)).cluster.group("default").failures == 0


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"retiring": NOW - 9, "stopping": NOW - 1}, ["WORKER_RETIRED"]),
        ({"retiring": NOW - 9}, ["WORKER_LOST"]),
        ({"stopping": NOW - 1}, []),
    ],
)
def test_an_end_that_was_asked_for_is_no_failure(fields: dict[str, Any], told: list[str]) -> None:
    """A retired one is told; one that died before its data had moved is lost; one that was ended is as it should be."""
    ledger = node_ends(node(joined=NOW - 5, **fields), ended("n0", **KILLED))
    assert (types(ledger), ledger.cluster.group("default").failures) == (told, 0)


def test_a_node_that_retires_and_exits_by_itself_has_retired() -> None:
    """It need not be asked to end."""
    assert types(node_ends(node(retiring=NOW - 9), ended("n0", code=0))) == ["WORKER_RETIRED"]


def test_a_failure_tells_in_the_runtimes_words_and_the_logs_tail() -> None:
    """What it said of itself, then its log's last lines; and the system's words where it said nothing."""
    there = view(cluster(1, start_times=(1.0,)), [scheduler(), waiting()], tails={"n0": "Traceback ..."})
    words = absorb(replace(there, observations={"n0": ended("n0", code=1, failure="no GPU")}), NOW).events[-1].message
    assert words == "n0-0 failed to start: no GPU\nTraceback ..."
    words = absorb(replace(there, observations={"n0": ended("n0", code=1)}), NOW).events[-1].message
    assert words == "n0-0 failed to start: it exited with code 1\nTraceback ..."


@pytest.mark.parametrize("end", [{"cause": Cause.FAILED_TO_START}, {"code": 80}, {"code": 81}])
def test_a_lasting_failure_fails_a_new_cluster_at_once(end: dict[str, Any]) -> None:
    """Without a Python, or `distributed` in it, a second try would end the same."""
    ledger = node_ends(waiting(), ended("n0", **end, words="there is no /opt/python"), start_times=())
    assert ledger.cluster.failed
    assert "there is no /opt/python" in ledger.cluster.message
    ledger = absorb(
        view(young(), [scheduler(joined=None)], HubView(), seen=[ended("s", **end, words="no python")]), NOW
    )
    assert ledger.cluster.failed
    assert "no python" in ledger.cluster.message
    assert "SCHEDULER_LOST" not in types(ledger)


def test_a_cluster_that_had_workers_goes_on_trying() -> None:
    """What once worked may work again: the group waits longer each time, and the cluster lives."""
    ledger = node_ends(waiting(), ended("n0", code=81), failures=50, retry_at=NOW - 1)
    assert (ledger.cluster.failed, ledger.cluster.group("default").failures) == (False, 51)


def test_a_cluster_that_never_had_a_worker_fails_after_so_many_tries() -> None:
    """Five in a row, and it says FAILED with the last words; four, and it waits."""
    four = node_ends(waiting(), ended("n0", code=1), failures=3, retry_at=NOW - 1, start_times=())
    assert not four.cluster.failed
    five = node_ends(waiting(), ended("n0", code=1), failures=4, retry_at=NOW - 1, start_times=())
    assert five.cluster.failed
    assert "5 times in a row" in five.cluster.message


def test_a_failure_is_not_forgotten_for_workers_that_ran_all_along() -> None:
    """Two old workers are no sign that the third can start: the back-off goes on."""
    ledger = node_ends(waiting(), ended("n0", code=1), failures=3, retry_at=NOW - 1)
    group = ledger.cluster.group("default")
    assert (group.failures, group.retry_at) == (4, NOW + delay(4, "u1/default"))
    assert ledger.cluster.reason == "WORKERS_FAILING"


FAILED_AT = NOW - 300


def failing(desired: int, some: list[Instance], failures: int = 2) -> Group:
    """The group after a pass, some minutes after its last failure."""
    retry_at = FAILED_AT + delay(failures, "u1/default")
    record = cluster(desired, failures=failures, retry_at=retry_at, start_times=(1.0,))
    return absorb(view(record, [scheduler(), *some]), NOW).cluster.group("default")


@pytest.mark.parametrize(
    ("desired", "some", "overcome"),
    [
        (3, nodes(2), False),
        (3, [*nodes(2), waiting(2)], False),
        (2, nodes(2), True),
        (3, [node(0, launched=FAILED_AT + 9, joined=FAILED_AT + 10), waiting(1)], True),
        (3, [node(0, launched=NOW - 50, joined=NOW - 49), waiting(1)], False),
        (0, [], False),
    ],
    ids=["old ones", "old ones and a try", "whole again", "a later success", "too young a success", "none"],
)
def test_failures_are_overcome_by_a_later_success(desired: int, some: list[Instance], overcome: bool) -> None:
    """A node launched since that has lasted, or a group that is whole and has been."""
    group = failing(desired, some)
    assert (group.failures == 0, group.retry_at is None, group.message == "") == (overcome,) * 3


def test_a_worker_that_cannot_be_kept_up_counts_once() -> None:
    """Its node says so at the hub; the same word heard again is not a second failure."""
    hub = heard(at_hub(nodes(1)), events=(fact(1, "worker-failed", instance="n0"),))
    there = view(cluster(1, start_times=(1.0,)), [scheduler(), node()], hub)
    ledger = absorb(there, NOW)
    assert ledger.cluster.group("default").failures == 1
    assert absorb(after(there, ledger), NOW).cluster.group("default").failures == 1


@pytest.mark.parametrize(
    ("instance", "fields"), [("n0", {"stopping": NOW}), ("n0", {"retiring": NOW}), ("s", {}), ("nobody", {}), ("", {})]
)
def test_a_word_of_failure_from_elsewhere_counts_for_nobody(instance: str, fields: dict[str, Any]) -> None:
    """Who leaves may fail, and a scheduler's code may name anything."""
    hub = heard(events=(fact(1, "worker-failed", instance=instance),))
    ledger = absorb(view(cluster(1), [scheduler(), node(**fields)], hub), NOW)
    assert ledger.cluster.group("default").failures == 0


@pytest.mark.parametrize("end", [KILLED, {"code": 81}, {"cause": Cause.FAILED_TO_START}])
def test_nothing_fails_a_cluster_that_shall_end(end: dict[str, Any]) -> None:
    """A deleted cluster ends as STOPPED, whatever its last breaths were."""
    hub = heard(events=(fact(1, "worker-failed", instance="n1"),))
    deleted = cluster(2, stop="deleted by ann", failures=4, retry_at=NOW - 1)
    there = [scheduler(), waiting(0), node(1)]
    ledger = absorb(view(deleted, there, hub, seen=[ended("n0", **end), ended("s", **end)]), NOW)
    assert (ledger.cluster.failed, ledger.cluster.stop) == (False, "deleted by ann")
    assert (ledger.cluster.group("default").failures, ledger.cluster.scheduler.restarts) == (4, ())


def scheduler_ends(end: Observation, one: Instance | None = None, hub: HubView | None = None, **fields: Any) -> Ledger:
    """A pass that sees the scheduler's end."""
    there: View = view(cluster(1, **fields), [one or scheduler(), node()], hub, seen=[end])
    return absorb(there, NOW)


def test_a_scheduler_that_was_told_to_end_is_not_restarted() -> None:
    """A client's shutdown is a stop, told once, and its nodes' ends with it are no losses."""
    said = ended("s", code=0, goodbye="a client at 10.0.0.7")
    there = view(cluster(1), [node(), scheduler()], seen=[ended("n0", code=85), said])
    ledger = absorb(there, NOW)
    assert ledger.cluster.stop == "shut down by a client at 10.0.0.7"
    assert (types(ledger), ledger.cluster.failed) == (["SHUT_DOWN"], False)
    assert ledger.cluster.phase.value == "STOPPED"


@pytest.mark.parametrize("end", [{"code": 0}, {"code": 1}, KILLED, {"cause": Cause.NODE_LOST}])
def test_a_scheduler_that_died_unasked_is_started_again(end: dict[str, Any]) -> None:
    """Exit 0 without a goodbye is a crash; what was lost is named; nothing of the dead one's word is kept."""
    hub = heard(
        tasks={"memory": 3, "processing": 2, "released": 9},
        held={"clients": 1, "keys": 4, "bytes": 5},
        events=(fact(7),),
        idle_since=NOW - 9,
    )
    ledger = scheduler_ends(ended("s", **end), hub=hub, held=Held(1, 4, 5))
    lost = ledger.events[-2]
    assert (lost.type, lost.facts["tasks"], lost.facts["held_keys"]) == ("SCHEDULER_LOST", "5", "4")
    assert "5 tasks and their results, among them 4 keys held for 1 lost clients are lost" in lost.message
    record = ledger.cluster
    assert (record.stop, record.held, record.idle_since, record.event_seq) == ("", Held(), None, 0)
    said = record.scheduler
    assert (said.started, said.pid, said.restarts, said.address) == (None, None, (NOW,), ADDRESS)
    assert (record.phase.value, record.reason) == ("STARTING", "SCHEDULER_RESTARTING")
    assert record.group("default").running == 0


def test_a_scheduler_that_keeps_a_journal_goes_on() -> None:
    """Nothing is told as lost, and what is held for lost clients stays; the next one will say what came back."""
    hub = heard(held={"clients": 1, "keys": 4, "bytes": 5}, resumable={"is": True, "words": ""})
    ledger = scheduler_ends(ended("s", **KILLED), hub=hub)
    assert "goes on with its work" in ledger.events[-2].message
    assert "lost" not in ledger.events[-2].message
    record = ledger.cluster
    assert (record.held, record.scheduler.restarts, record.scheduler.resumable) == (Held(1, 4, 5), (NOW,), True)


def test_a_scheduler_that_gave_its_journal_up_says_why_and_loses_its_work() -> None:
    """The words are kept for who looks, and what dies with it is told."""
    hub = heard(resumable={"is": False, "words": "it is too large"})
    ledger = scheduler_ends(ended("s", **KILLED), hub=hub)
    assert ledger.cluster.scheduler.unresumable == "it is too large"
    assert "empty" in ledger.events[-2].message


def test_a_cluster_may_fail_with_its_scheduler() -> None:
    """Where its spec says so, a scheduler that has run is not started again."""
    there = cluster(1)
    spec = there.spec.model_copy(update={"on_scheduler_loss": OnSchedulerLoss.FAIL})
    ledger = absorb(view(replace(there, spec=spec), [scheduler(), node()], heard(), seen=[ended("s", **KILLED)]), NOW)
    assert ledger.cluster.failed
    assert "SCHEDULER_LOST" not in types(ledger)
    assert ledger.cluster.scheduler.restarts == ()


def test_what_a_scheduler_said_last_is_told_before_its_end() -> None:
    """Events that were heard with its end are not lost with it."""
    assert types(scheduler_ends(ended("s", **KILLED), hub=heard(events=(fact(7),)))) == [
        "CLIENT_LOST",
        "SCHEDULER_LOST",
    ]


def test_a_dead_scheduler_is_not_told_as_silent() -> None:
    """Its link broke because it ended, and the next one begins unburdened."""
    ledger = scheduler_ends(ended("s", **KILLED), hub=replace(heard(), connected=False, trouble="refused"))
    assert (types(ledger), ledger.cluster.scheduler.heard) == (["SCHEDULER_LOST"], None)


@pytest.mark.parametrize("hub", [HubView(instance="s"), heard(instance="an older one", tasks={"memory": 0})])
def test_what_nobody_counted_is_not_told_as_nothing(hub: HubView) -> None:
    """A daemon that was away when the scheduler died does not know how much was lost."""
    (lost,) = [e for e in scheduler_ends(ended("s", **KILLED), hub=hub).events if "LOST" in e.type]
    assert lost.facts["tasks"] == "unknown"
    assert "0 tasks" not in lost.message


@pytest.mark.parametrize(
    ("ages", "joined", "fails"),
    [
        ((500, 400, 300, 200, 100), True, True),
        ((500, 400, 300, 200), True, False),
        ((700, 400, 300, 200, 100), True, False),
        ((400, 300, 200, 100), False, True),
        ((300, 200, 100), False, False),
    ],
    ids=["six times", "five times", "out of the window", "five starts", "four starts"],
)
def test_restarts_are_bounded(ages: tuple[int, ...], joined: bool, fails: bool) -> None:
    """More restarts than allowed within the window, or starts that never came up, are FAILED."""
    one = scheduler(joined=LONG_AGO if joined else None)
    before = {"restarts": tuple(NOW - age for age in ages)}
    ledger = scheduler_ends(ended("s", code=1), one, HubView(), scheduler=before)
    assert ledger.cluster.failed == fails
    if fails:
        assert f"{len(ages) + 1} times in a row" in ledger.cluster.message


def test_a_new_schedulers_events_are_told_from_its_first() -> None:
    """Their numbers begin anew with it."""
    first = view(cluster(1), [scheduler(), node()], heard(events=(fact(7),)), seen=[ended("s", **KILLED)])
    dead = after(first, absorb(first, NOW))
    reborn = scheduler("s2", joined=None, launched=NOW, created=NOW)
    hub = replace(heard(instance="s2", events=(fact(1, "worker-added"),)), heard=NOW + 2)
    ledger = absorb(replace(dead, instances=(*dead.instances, reborn), hub=hub, observations={}), NOW + 2)
    assert types(ledger) == ["WORKER_ADDED"]
    assert (ledger.cluster.scheduler.instance, ledger.cluster.scheduler.started) == ("s2", NOW + 2)


@pytest.mark.parametrize("failures", [1, 2, 5, 7, 40])
def test_waits_double_to_a_minute(failures: int) -> None:
    """A quarter less at most, the same for the same key, and another for another."""
    full = min(MOST, FIRST * 2.0 ** (failures - 1))
    assert 0.75 * full <= delay(failures, "u/g") <= full
    assert delay(failures, "u/g") == delay(failures, "u/g")
    assert len({delay(failures, f"u{n}/g") for n in range(9)}) == 9


def test_a_record_of_what_was_refused_stays() -> None:
    """An end changes what is observed of an instance, and never what was recorded of its launch."""
    assert of(node_ends(node(), ended("n0", code=1)), "n0").record is Record.ACCEPTED


def test_a_launch_that_is_refused_meanwhile_does_not_fail_a_deleted_cluster() -> None:
    """Who deletes a cluster is not answered with FAILED."""
    ledger = Ledger(cluster(stop="deleted by ann"), ())
    fail(ledger, "its scheduler can't be launched")
    assert (ledger.cluster.failed, ledger.cluster.stop, ledger.events) == (False, "deleted by ann", [])
