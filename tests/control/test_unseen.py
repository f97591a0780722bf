"""Nodes that nobody sees any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_states import NOW, SETTINGS, at_hub, cluster, ended, heard, node, nodes, scheduler, seen, silent, view

from daskd.control.absorb import LOST_FOR, absorb
from daskd.control.plan import Cancel, Chosen, LaunchNodes, decide
from daskd.control.view import HubView
from daskd.model.cluster import Cause, Instance, Record, State

GONE = seen("n0", State.UNKNOWN, words="host h1 does not answer")
LATE = NOW - SETTINGS.lost_after


def lost(since: float | None = LATE, **fields: object) -> Instance:
    """A node that has been unknown since then."""
    return replace(node(), state=State.UNKNOWN, unknown_since=since, **fields)


def test_a_node_out_of_sight_is_given_up_and_replaced() -> None:
    """Unknown to its system and gone from the scheduler for long enough: fenced, then another takes its place."""
    before = view(cluster(1), [scheduler(), lost()], heard(), seen=[GONE])
    ledger = absorb(before, NOW)
    (given_up,) = [each for each in ledger.instances if each.id == "n0"]
    assert given_up.record is Record.ABANDONED
    (event,) = ledger.events
    assert (event.type, event.facts["instance"]) == ("WORKER_LOST", "n0")
    assert "host h1 does not answer" in event.message
    after = replace(before, cluster=ledger.cluster, instances=ledger.instances)
    assert decide(after, Chosen(), NOW).actions == (Cancel(("n0",)),)
    ended = replace(given_up, stopping=NOW)
    gone = replace(after, instances=(scheduler(), ended))
    assert LaunchNodes("default", 1) in decide(gone, Chosen(), NOW).actions


@pytest.mark.parametrize(
    ("it", "hub"),
    [
        (lost(since=LATE + 1), heard()),
        (lost(), heard(at_hub(nodes(1)))),
        (lost(), silent(heard())),
        (lost(), HubView(instance="s")),
        (lost(stopping=NOW - 1), heard()),
        (lost(since=None), heard()),
    ],
    ids=["not for long", "at the scheduler", "the scheduler is silent", "never heard", "asked to end", "just now"],
)
def test_what_may_be_well_is_kept(it: Instance, hub: HubView) -> None:
    """Unknown says nothing by itself."""
    ledger = absorb(view(cluster(1), [scheduler(), it], hub, seen=[GONE]), NOW)
    (kept,) = [each for each in ledger.instances if each.id == "n0"]
    assert kept.record is Record.ACCEPTED
    assert kept.unknown_since is not None
    assert not [event for event in ledger.events if event.type == "WORKER_LOST"]


LOST = ended("n0", Cause.NODE_LOST, words="Slurm says NODE_FAIL", certain=False)


def test_what_a_system_lost_with_its_node_is_kept_while_it_is_heard_and_fenced_when_not() -> None:
    """A lost node may run on: nothing takes its place before it can join no more, and then its end is believed."""
    hears = view(cluster(1), [scheduler(), lost()], heard(at_hub(nodes(1))), seen=[LOST])
    ledger = absorb(hears, NOW)
    (kept,) = [each for each in ledger.instances if each.id == "n0"]
    assert (kept.state, kept.record, kept.words) == (State.UNKNOWN, Record.ACCEPTED, "Slurm says NODE_FAIL")
    silence = absorb(replace(hears, hub=heard()), NOW)
    after = replace(hears, hub=heard(), cluster=silence.cluster, instances=silence.instances)
    assert decide(after, Chosen(), NOW).actions == (Cancel(("n0",)),)
    assert "NODE_FAIL" in silence.events[0].message
    again = absorb(after, NOW + 1)
    assert [each.record for each in again.instances if each.id == "n0"] == [Record.ABANDONED]
    asked = tuple(replace(each, stopping=NOW + 1) if each.id == "n0" else each for each in again.instances)
    end = absorb(replace(after, instances=asked), NOW + 2)
    assert [each.state for each in end.instances if each.id == "n0"] == [State.ENDED]


@pytest.mark.parametrize("record", [Record.ACCEPTED, Record.ABANDONED])
@pytest.mark.parametrize(
    ("waited", "state"), [(LOST_FOR - 1, State.UNKNOWN), (LOST_FOR, State.ENDED)], ids=["a while", "a minute"]
)
def test_a_cluster_ends_though_nobody_sees_what_was_lost(record: Record, waited: float, state: State) -> None:
    """What was told to end on a node that is lost keeps its cluster waiting for a minute, and not for ever."""
    it = lost(since=None if record is Record.ABANDONED else NOW - waited, record=record, stopping=NOW - waited)
    first = view(cluster(1, stop="deleted"), [scheduler(), it], heard(), seen=[LOST])
    ledger = absorb(first, NOW)
    assert [each.state for each in ledger.instances if each.id == "n0"] == [state]


def test_one_that_is_seen_again_begins_anew() -> None:
    """What was unknown before does not count once its system has shown it."""
    ledger = absorb(view(cluster(1), [scheduler(), lost()], heard(), seen=[seen("n0")]), NOW)
    (back,) = [each for each in ledger.instances if each.id == "n0"]
    assert (back.state, back.unknown_since, back.record) == (State.RUNNING, None, Record.ACCEPTED)
