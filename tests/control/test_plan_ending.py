"""How a cluster, or one thing of it, is ended."""

from __future__ import annotations

import pytest
from cluster_states import NOW, SETTINGS, at_hub, cluster, heard, node, nodes, scheduler, silent, unsure, view, waiting

from daskd.control.plan import FORCE_AFTER, Action, Chosen, Terminate, decide
from daskd.control.view import HubView, View
from daskd.model.cluster import Instance, State

LATE = SETTINGS.grace + FORCE_AFTER


def actions(of: View) -> list[Action]:
    return list(decide(of, Chosen(), NOW).actions)


def test_a_stop_ends_nodes_first() -> None:
    """All nodes at once, retiring, waiting or unsure ones too; the scheduler, which they talk to, later."""
    there = [scheduler(), node(0), node(1, retiring=NOW - 5), waiting(2), unsure(node(3)), node(4, state=State.UNKNOWN)]
    assert actions(view(cluster(9, stop="deleted by ann"), there)) == [Terminate(("n0", "n1", "n2", "n3", "n4"))]


@pytest.mark.parametrize(
    ("some", "ends"),
    [
        ([], True),
        ([node(stopping=NOW - 2.9)], False),
        ([node(stopping=NOW - 3)], True),
        ([node(0, stopping=NOW - 5), node(1)], False),
    ],
    ids=["no nodes", "still ending", "long enough", "one not yet asked"],
)
def test_a_stop_ends_the_scheduler_after_its_nodes(some: list[Instance], ends: bool) -> None:
    """When they have ended, or after three seconds."""
    plan = actions(view(cluster(stop="deleted by ann"), [scheduler(), *some]))
    assert (Terminate(("s",)) in plan) == ends


@pytest.mark.parametrize("hub", [HubView(), silent(heard(at_hub([node()])))])
@pytest.mark.parametrize(
    "one", [scheduler(), unsure(scheduler()), scheduler(joined=None), scheduler(state=State.UNKNOWN)]
)
def test_a_stop_never_depends_on_the_link(one: Instance, hub: HubView) -> None:
    """A scheduler that hangs, or may never have been launched, is ended like any other."""
    assert actions(view(cluster(stop="deleted by ann"), [one], hub)) == [Terminate(("s",))]


def test_a_stop_launches_nothing() -> None:
    """Neither a scheduler nor nodes."""
    assert actions(view(cluster(4, stop="deleted by ann"))) == []
    assert actions(view(cluster(4, stop="deleted by ann"), [scheduler(stopping=NOW)])) == []


@pytest.mark.parametrize("stop", ["", "deleted by ann"])
@pytest.mark.parametrize(
    ("asked", "forced", "expected"),
    [
        (LATE - 1, None, False),
        (LATE, None, True),
        (LATE + 100, 100.0, False),
        (LATE + 300, 299.0, False),
        (LATE + 300, 300.0, True),
        (LATE + 300, -3600.0, True),
    ],
)
def test_an_end_is_forced_when_it_is_late_and_then_now_and_then(
    asked: float, forced: float | None, expected: bool, stop: str
) -> None:
    """Ten seconds past the grace, then every five minutes, whether the cluster lives or not, heard or not."""
    late = node(stopping=NOW - asked)
    said = {"n0": NOW - forced} if forced is not None else {}
    plan = actions(view(cluster(stop=stop), [scheduler(stopping=NOW if stop else None), late], forced=said))
    assert plan == ([Terminate(("n0",), force=True)] if expected else [])


def test_many_late_ends_are_forced_in_one_call() -> None:
    """A hundred stuck processes are no hundred calls of a slow driver."""
    stuck = nodes(3, stopping=NOW - LATE)
    assert actions(view(cluster(), [scheduler(), *stuck])) == [Terminate(("n0", "n1", "n2"), force=True)]
