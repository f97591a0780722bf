"""Which phase a cluster is in, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_states import LONG_AGO, NOW, cluster, heard, node, scheduler, silent, unsure, view, waiting, young

from daskd.control.ledger import Ledger
from daskd.control.phase import settle
from daskd.control.view import HubView
from daskd.model.cluster import Cluster, Group, Instance, Phase, State

RESTARTS = {"restarts": (NOW - 5,)}


def settled(of: Cluster, some: list[Instance], hub: HubView | None = None) -> Cluster:
    """The record when its phase is settled."""
    ledger = Ledger(of, tuple(some))
    settle(ledger, view(of, some, hub), NOW)
    return ledger.cluster


@pytest.mark.parametrize(
    ("of", "some", "phase", "reason"),
    [
        (young(), [], Phase.PENDING, ""),
        (young(), [scheduler(joined=None)], Phase.STARTING, "SCHEDULER_STARTING"),
        (young(), [unsure(scheduler())], Phase.STARTING, "SCHEDULER_STARTING"),
        (cluster(scheduler=RESTARTS), [], Phase.STARTING, "SCHEDULER_RESTARTING"),
        (cluster(scheduler=RESTARTS), [scheduler(joined=None)], Phase.STARTING, "SCHEDULER_RESTARTING"),
        (cluster(scheduler=RESTARTS), [scheduler()], Phase.RUNNING, ""),
        (cluster(), [scheduler()], Phase.RUNNING, ""),
        (cluster(2), [scheduler(), waiting()], Phase.RUNNING, ""),
        (cluster(2), [scheduler(state=State.UNKNOWN)], Phase.RUNNING, ""),
        (cluster(stop="x"), [scheduler()], Phase.STOPPING, "ENDING"),
        (cluster(stop="x"), [node()], Phase.STOPPING, "ENDING"),
        (cluster(stop="x"), [unsure(node())], Phase.STOPPING, "ENDING"),
        (cluster(stop="x"), [node(state=State.UNKNOWN)], Phase.STOPPING, "ENDING"),
        (cluster(stop="x"), [], Phase.STOPPED, "STOPPED"),
        (cluster(stop="x", failed=True), [node()], Phase.STOPPING, "FAILED"),
        (cluster(stop="x", failed=True), [], Phase.FAILED, "FAILED"),
        (young(stop="x"), [], Phase.STOPPED, "STOPPED"),
    ],
)
def test_a_phase_follows_from_what_there_is(of: Cluster, some: list[Instance], phase: Phase, reason: str) -> None:
    """Nothing but the record and its instances decides it, and it has ended exactly when nothing of it is left."""
    after = settled(of, some)
    assert (after.phase, after.reason) == (phase, reason)
    assert (after.ended is not None) == (phase in (Phase.STOPPED, Phase.FAILED))


def test_the_time_of_an_end_is_kept() -> None:
    """The first time that nothing ran any more."""
    assert settled(cluster(stop="x"), []).ended == NOW
    assert settled(cluster(stop="x", ended=LONG_AGO), []).ended == LONG_AGO


def test_a_silent_scheduler_runs() -> None:
    """It is RUNNING, and the reason says that it does not answer."""
    of = cluster(scheduler={"heard": NOW - 5})
    after = settled(of, [scheduler()], silent(heard()))
    assert (after.phase, after.reason) == (Phase.RUNNING, "SCHEDULER_SILENT")
    assert "timed out" in after.message


@pytest.mark.parametrize(("running", "reason"), [(0, "WORKERS_FAILING"), (1, "WORKERS_FAILING"), (2, "")])
def test_failing_workers_are_shown_while_they_are_missed(running: int, reason: str) -> None:
    """The group and what is wrong with it; no longer, once it has what it should have."""
    group = Group("default", desired=2, running=running, failures=3, retry_at=NOW, message="no GPU")
    after = settled(replace(cluster(2), groups=(group,)), [scheduler()])
    assert after.reason == reason
    assert ("no GPU" in after.message) == bool(reason)


def test_why_an_end_takes_long_is_shown() -> None:
    """How many still run, and what the system says of one that was asked to end."""
    some = [node(0, stopping=NOW, words="host does not answer"), node(1)]
    assert settled(cluster(stop="deleted by ann"), some).message == (
        "deleted by ann; 2 instances still run: host does not answer"
    )
    assert settled(cluster(stop="x", failed=True, message="no python"), some).message == "no python"


def test_a_change_of_phase_is_told_once() -> None:
    """From what to what, and why."""
    ledger = Ledger(cluster(stop="deleted by ann"), ())
    settle(ledger, view(ledger.cluster), NOW)
    settle(ledger, view(ledger.cluster), NOW)
    (event,) = ledger.events
    assert (event.type, event.message) == ("PHASE_CHANGED", "RUNNING -> STOPPED: deleted by ann")
