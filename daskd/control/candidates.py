"""Pure: nodes and their workers in the adaptive policy's words."""

from __future__ import annotations

from daskd.model.adaptive import Instance as Candidate
from daskd.model.adaptive import InstanceState, WorkerRow
from daskd.model.cluster import Instance

from .link import HubWorker
from .view import View


def candidate(node: Instance, view: View) -> Candidate:
    """A node as the adaptive policy sees it."""
    if node.retiring or node.stopping:
        state = InstanceState.ENDING
    elif any(name in view.hub_workers for name in node.workers):
        state = InstanceState.RUNNING
    else:
        # a node whose workers are all gone is being mended, and holds nothing
        state = InstanceState.PENDING
    return Candidate(
        id=node.id,
        group=node.group,
        state=state,
        launched=node.launched or node.created,
        started=node.joined,
        expected_end=node.expected_end,
        workers=node.workers,
        rotating=node.rotating is not None,
    )


def rows(view: View) -> list[WorkerRow]:
    """The hub's workers as far as the state, rather than a snapshot, tells of them."""
    return [row(worker) for worker in view.hub_workers.values()]


def rows_by_node(view: View) -> dict[str, list[WorkerRow]]:
    """Them by their node's id, with what the last snapshot tells of their tasks where there is one."""
    found: dict[str, list[WorkerRow]] = {}
    for each in view.snapshot.workers if view.snapshot is not None else rows(view):
        found.setdefault(each.instance or "", []).append(each)
    return found


def row(worker: HubWorker) -> WorkerRow:
    """One of them."""
    return WorkerRow(
        name=worker.name,
        instance=worker.instance,
        status=worker.status,
        processing=worker.processing,
        nbytes=worker.managed,
        unique=worker.managed,
        limit=worker.memory_limit,
    )
