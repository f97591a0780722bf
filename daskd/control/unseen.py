"""Pure: nodes of which neither their system nor the scheduler knows anything any more are given up, and replaced."""

from __future__ import annotations

from daskd.model.cluster import Instance, Record, Role, State

from .ledger import Ledger
from .view import View


def give_up(ledger: Ledger, view: View, now: float) -> None:
    """Give up what has been out of sight for too long.

    It is fenced before another takes its place, so that it never joins again, and asked to end as long as its system
    shows it: a host whose cable was pulled comes back with all that ran there.
    """
    for node in ledger.instances:
        if node.role is not Role.NODE or node.state is State.ENDED or node.record is not Record.ACCEPTED:
            continue
        if node.state is not State.UNKNOWN:
            if node.unknown_since is not None:
                ledger.edit_instance(node.id, unknown_since=None)
            continue
        since = now if node.unknown_since is None else min(node.unknown_since, now)
        if since != node.unknown_since:
            node = ledger.edit_instance(node.id, unknown_since=since)
        if now - since >= view.settings.lost_after and _is_out_of_sight(view, node):
            ledger.edit_instance(node.id, record=Record.ABANDONED)
            names = ", ".join(node.workers)
            why = f": {node.words}" if node.words else ""
            words = f"{names} is out of sight for {now - since:.0f} s{why}. It is given up, and replaced"
            ledger.tell("WORKER_LOST", words, workers=names, instance=node.id)


def _is_out_of_sight(view: View, node: Instance) -> bool:
    if node.stopping is not None or not view.hears:
        return False
    return not any(name in view.hub_workers for name in node.workers)
