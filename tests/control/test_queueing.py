"""Only so many may wait in a system's queue: the others are launched as these start, and that is no failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cluster_states import NOW, POLICY, at_hub, cluster, heard, node, nodes, scheduler, view, waiting

from daskd.control.absorb import absorb
from daskd.control.explain import Known, explain
from daskd.control.ledger import Ledger
from daskd.control.plan import Chosen, LaunchNodes, decide
from daskd.control.queueing import waiting as count_waiting
from daskd.control.view import View
from daskd.drivers.protocol import Room
from daskd.model.cluster import Adaptive, State

WORDS = "the site allows 3 queued jobs"


def queued(*numbers: int) -> list[Any]:
    return [waiting(n, state=State.QUEUED) for n in numbers]


def held(desired: int, more: int, instances: list[Any], each: int = 1) -> View:
    return view(cluster(desired, each), [scheduler(), *instances], rooms={"default": Room(more, WORDS)})


def launched(of: View) -> list[int]:
    return [action.count for action in decide(of, Chosen(), NOW).actions if isinstance(action, LaunchNodes)]


def message(ledger: Ledger) -> str:
    return ledger.cluster.group("default").message


@pytest.mark.parametrize(("more", "expected"), [(3, [3]), (0, []), (100, [10])])
def test_no_more_are_launched_than_may_wait(more: int, expected: list[int]) -> None:
    """As many as there is room for, never more than are wanted, and none where there is none."""
    assert launched(held(10, more, [])) == expected


def test_an_adaptive_group_obeys_too() -> None:
    """What its policy wants is launched as there is room."""
    of = held(10, 2, queued(0))
    group = replace(of.cluster.group("default"), adaptive=Adaptive(POLICY, since=NOW))
    assert launched(replace(of, cluster=replace(of.cluster, groups=(group,)))) == [2]


def test_what_waits_counts_until_it_runs() -> None:
    """Launched and not running yet is waiting; what runs, has joined, or was asked to end is not."""
    some = [
        waiting(0, state=State.QUEUED),
        waiting(1, state=State.STARTING),
        waiting(2, state=State.UNKNOWN),
        waiting(3, state=State.RUNNING),
        waiting(4, state=State.QUEUED, stopping=NOW),
        node(5),
        scheduler(),
    ]
    assert count_waiting(some, "default") == 3
    assert count_waiting(some, "other") == 0


def test_who_waits_and_why_is_told_and_is_no_failure() -> None:
    """The group's message and the explanation say how many workers are not submitted, and what allows no more."""
    of = held(10, 1, [*queued(0, 1), *nodes(3, first=2)])
    ledger = absorb(of, NOW)
    assert message(ledger) == f"4 of 10 workers wait: {WORDS}"
    assert ledger.cluster.group("default").failures == 0
    assert f"4 of 10 workers wait: {WORDS}" in explain(Known(of), NOW).groups[0].reasons


def test_workers_are_counted_and_not_jobs() -> None:
    """Of jobs of several workers, or nodes, the workers are told, and never more than are wanted."""
    assert message(absorb(held(9, 0, [node(0, each=4)], each=4), NOW)) == f"8 of 9 workers wait: {WORDS}"
    of = view(cluster(9, 2, nodes=2), [scheduler(), node(0, each=4)], rooms={"default": Room(0, WORDS)})
    assert message(absorb(of, NOW)) == f"8 of 9 workers wait: {WORDS}"


def test_the_message_goes_when_there_is_room() -> None:
    """Once all are submitted nothing is told of it, though some still wait for their start."""
    before = held(3, 0, queued(0, 1))
    told = absorb(before, NOW).cluster
    assert told.group("default").message
    after = view(told, [scheduler(), *queued(0, 1)], rooms={"default": Room(2, WORDS)})
    assert message(absorb(after, NOW)) == ""


def test_a_failure_is_told_before_it() -> None:
    """What went wrong stays the message as long as it counts."""
    of = held(3, 0, queued(0))
    group = replace(of.cluster.group("default"), failures=1, message="it broke")
    of = replace(of, cluster=replace(of.cluster, groups=(group,)), hub=heard(at_hub([])))
    assert message(absorb(of, NOW)) == "it broke"
