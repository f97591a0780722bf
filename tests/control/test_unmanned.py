"""Instances of several nodes that have lost one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_states import (
    NOW,
    SETTINGS,
    after,
    at_hub,
    cluster,
    heard,
    node,
    of,
    scheduler,
    silent,
    types,
    view,
)

from daskd.control.absorb import absorb
from daskd.control.explain import Known, explain
from daskd.control.link.documents import HubNode, LeftWorker
from daskd.control.plan import Chosen, LaunchNodes, Retire, decide
from daskd.control.unmanned import PATIENCE
from daskd.control.view import HubView, View
from daskd.model.cluster import Instance

LATE = NOW - SETTINGS.join_timeout - PATIENCE
"""When it left, if it is away for long enough now."""


def hub(*names: str, left: float = LATE, gone: tuple[str, ...] = ("n0-2", "n0-3")) -> HubView:
    """The scheduler has workers of these names, and others have left it then."""
    of_all = at_hub([node(0, each=4), node(1, each=4)])
    return heard(
        [worker for worker in of_all if worker.name in names],
        left=tuple(LeftWorker(name=name, instance="n0", t=left) for name in gone),
    )


def seen(there: HubView, first: Instance | None = None, *others: Instance) -> View:
    """A group of four workers, two on each of an instance's two nodes."""
    nodes = [first or node(0, each=4), *others]
    return view(cluster(4, each=2, nodes=2), [scheduler(), *nodes], there)


HALF = hub("n0-0", "n0-1")


def test_an_instance_without_one_of_its_nodes_is_succeeded() -> None:
    """It is told and another launched beside it; when that has joined, what is left of the first retires."""
    before = seen(HALF)
    ledger = absorb(before, NOW)
    assert of(ledger, "n0").rotating == NOW
    (event,) = [event for event in ledger.events if event.type == "WORKER_LOST"]
    assert "n0-2, n0-3 is gone with its node" in event.message
    marked = after(before, ledger)
    assert decide(marked, Chosen(), NOW).actions == (LaunchNodes("default", 1),)
    assert any("n0-2, n0-3 is gone" in reason for reason in explain(Known(marked), NOW).groups[0].reasons)
    both = hub("n0-0", "n0-1", *(f"n1-{k}" for k in range(4)))
    joined = seen(both, of(ledger, "n0"), node(1, each=4))
    assert decide(joined, Chosen(), NOW).actions == (Retire(("n0",)),)
    assert "WORKER_LOST" not in types(absorb(joined, NOW)), "told once"


@pytest.mark.parametrize(
    "of_view",
    [
        seen(hub("n0-0", "n0-1", left=LATE + 1)),
        seen(hub("n0-0", "n0-2")),
        seen(hub()),
        seen(silent(HALF)),
        seen(HALF, node(0, each=4, joined=None)),
        seen(HALF, node(0, each=4, retiring=NOW - 1)),
        seen(HALF, node(0, each=4, stopping=NOW - 1)),
        seen(HALF, node(0, each=4, joined=LATE + 1)),
        view(cluster(4, each=4), [scheduler(), node(0, each=4)], HALF),
    ],
    ids=[
        *("not for long", "each node has a worker", "none has", "the scheduler is silent", "never joined", "retiring"),
        *("asked to end", "joined just now", "one node"),
    ],
)
def test_an_instance_is_kept_while_its_nodes_may_come_back(of_view: View) -> None:
    """Nothing is concluded from a short absence, of a node that has one worker at least, or from silence."""
    ledger = absorb(of_view, NOW)
    assert of(ledger, "n0").rotating is None
    assert "WORKER_LOST" not in types(ledger)


def test_a_node_that_has_joined_may_take_long_for_its_first_worker() -> None:
    """One that was there and lost its workers is gone, one that never had any is still at it."""
    second = HubNode(instance="n0", joined=LATE, workers=("n0-2", "n0-3"))
    for gone, is_marked in (((), False), (("n0-2", "n0-3"), True)):
        there = hub("n0-0", "n0-1", gone=gone)
        assert there.state is not None
        joined = replace(there, state=there.state.model_copy(update={"nodes": (second,)}))
        assert (of(absorb(seen(joined), NOW), "n0").rotating is not None) is is_marked


def test_nodes_find_a_scheduler_that_was_restarted_first() -> None:
    """Its nodes have their time to join from when the scheduler began."""
    old = seen(hub("n0-0", "n0-1", gone=()))
    assert of(absorb(old, NOW), "n0").rotating == NOW
    young = replace(old.cluster, scheduler=replace(old.cluster.scheduler, started=LATE + 1))
    assert of(absorb(replace(old, cluster=young), NOW), "n0").rotating is None
