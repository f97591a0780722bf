"""A worker group that goes: its nodes are retired, and when the last has ended it is no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_states import NOW, cluster, ended, node, scheduler, types, unsure, view, waiting

from daskd.control import failures
from daskd.control.absorb import absorb
from daskd.control.ledger import Ledger
from daskd.control.plan import Cancel, Chosen, Retire, decide
from daskd.model.cluster import Cluster, Group
from daskd.model.spec import ClusterSpec, WorkerGroupSpec


def going(**fields: object) -> Cluster:
    """A cluster whose group "old" is being removed."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(), WorkerGroupSpec(name="old")))
    return replace(cluster(), spec=spec, groups=(Group("default"), Group("old", removing=True, **fields)))


def test_its_nodes_are_retired_and_what_has_not_joined_is_cancelled() -> None:
    """Data moves before anything ends."""
    seen = view(going(), [scheduler(), node(1, group="old"), waiting(2, group="old")])
    actions = decide(seen, Chosen(), NOW).actions
    assert Retire(("n1",)) in actions
    assert Cancel(("n2",)) in actions


def test_it_is_no_more_when_its_last_node_has_ended() -> None:
    """It goes from groups and spec, an event tells it, and that it had workers is remembered."""
    leaving = node(1, group="old", retiring=NOW - 5, stopping=NOW - 1)
    ledger = absorb(view(going(start_times=(1.0,)), [scheduler(), leaving], seen=[ended("n1", code=0)]), NOW)
    assert [group.name for group in ledger.cluster.groups] == ["default"]
    assert [spec.name for spec in ledger.cluster.spec.groups] == ["default"]
    assert types(ledger) == ["WORKER_RETIRED", "GROUP_REMOVED"]
    assert ledger.cluster.had_workers


@pytest.mark.parametrize("left", [node(1, group="old"), unsure(node(1, group="old"))])
def test_it_stays_while_anything_of_it_may_run(left) -> None:
    """One node that lives, or that nobody knows of, keeps it on record."""
    ledger = absorb(view(going(), [scheduler(), left]), NOW)
    assert ledger.cluster.group("old").removing
    assert "GROUP_REMOVED" not in types(ledger)


def test_a_cluster_is_not_given_up_for_a_group_that_goes() -> None:
    """Nor for new ones' failures, when a group that is gone had a worker."""
    ledger = Ledger(going(failures=9, message="no"), ())
    failures.give_up_if_hopeless(ledger, "old", bound=5)
    assert not ledger.cluster.failed
    ledger = Ledger(replace(cluster(failures=9), had_workers=True), ())
    failures.give_up_if_hopeless(ledger, "default", bound=5)
    assert not ledger.cluster.failed
