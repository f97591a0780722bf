"""Pure: an instance of several nodes that has lost one. The others go on until another instance has its place."""

from __future__ import annotations

from collections.abc import Container, Sequence

from daskd.model.cluster import Instance, Role, State
from daskd.model.spec import WorkerGroupSpec

from .ledger import Ledger
from .view import View

PATIENCE = 30.0
"""Beyond the time within which a node may still join, or find its scheduler again."""


def unmanned(node: Instance, spec: WorkerGroupSpec, workers: Container[str]) -> list[str]:
    """The names that belong to those of its nodes that have no worker; none while all have, or none has.

    Parameters
    ----------
    workers
        Names of the workers at the scheduler.
    """
    shares = [
        node.workers[at : at + spec.workers_per_node] for at in range(0, len(node.workers), spec.workers_per_node)
    ]
    gone = [share for share in shares if not any(name in workers for name in share)]
    return [] if len(gone) == len(shares) else [name for share in gone for name in share]


def mark(ledger: Ledger, view: View, now: float) -> None:
    """Mark what is to be succeeded as a whole: what its other nodes hold moves once its successor has joined.

    A node whose workers fail one by one mends them itself; one without any for so long will not come back.
    """
    cluster = ledger.cluster
    if cluster.stop or not view.hears or view.hub.state is None or cluster.scheduler.started is None:
        return
    left = {worker.name: worker.t for worker in view.hub.state.left}
    # nodes that have joined may take long to start their first workers, where many read the same file system
    starting = {name for node in view.hub.state.nodes for name in node.workers} - left.keys()
    for node in ledger.instances:
        spec = cluster.spec.group(node.group) if node.role is Role.NODE else None
        if spec is None or spec.nodes == 1 or not _is_up(node):
            continue
        gone = [name for name in unmanned(node, spec, view.hub_workers) if name not in starting]
        since = max([cluster.scheduler.started, node.joined or now, *(left.get(name, 0.0) for name in gone)])
        if gone and now - since >= max(view.settings.join_timeout, spec.death_timeout) + PATIENCE:
            ledger.edit_instance(node.id, rotating=now)
            names = in_words(gone)
            words = f"{names} is gone with its node for {now - since:.0f} s, and the others of {node.id} go on. It is"
            ledger.tell("WORKER_LOST", f"{words} replaced as a whole", workers=names, instance=node.id)


def in_words(names: Sequence[str]) -> str:
    """Names of workers, the first ten of many."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _is_up(node: Instance) -> bool:
    is_leaving = node.rotating is not None or node.retiring is not None or node.stopping is not None
    return node.joined is not None and node.state is not State.ENDED and not is_leaving
