"""Pure: which phase a cluster is in."""

from __future__ import annotations

from daskd.model.cluster import Phase, Role, State

from .ledger import Ledger
from .versions import VERSIONS_DIFFER, mismatch
from .view import View

SLOW_START = 5.0
"""Seconds for which it is no news that a scheduler that was just launched does not answer yet."""


def settle(ledger: Ledger, view: View, now: float) -> None:
    """Set phase, reason and message from what is recorded, and tell a change of phase."""
    before = ledger.cluster.phase
    if ledger.cluster.stop:
        _ending(ledger, now)
    else:
        _living(ledger, view, now)
    after = ledger.cluster
    if after.phase is not before:
        words = f"{before.value} -> {after.phase.value}" + (f": {after.message}" if after.message else "")
        ledger.tell("PHASE_CHANGED", words, before=before.value, after=after.phase.value, reason=after.reason)


def _ending(ledger: Ledger, now: float) -> None:
    cluster = ledger.cluster
    running = [instance for instance in ledger.instances if instance.state is not State.ENDED]
    if running:
        waiting = [instance.words for instance in running if instance.words and instance.stopping]
        message = cluster.message if cluster.failed else cluster.stop
        if waiting and not cluster.failed:
            message = f"{cluster.stop}; {len(running)} instances still run: {waiting[0]}"
        ledger.edit(phase=Phase.STOPPING, reason="FAILED" if cluster.failed else "ENDING", message=message)
        return
    done = Phase.FAILED if cluster.failed else Phase.STOPPED
    ledger.edit(
        phase=done,
        reason=done.value,
        message=cluster.message if cluster.failed else cluster.stop,
        ended=cluster.ended or now,
        idle_since=None,
        unplaceable=(),
    )


def _living(ledger: Ledger, view: View, now: float) -> None:
    cluster = ledger.cluster
    scheduler = next((i for i in ledger.instances if i.role is Role.SCHEDULER and i.state is not State.ENDED), None)
    restarting = bool(cluster.scheduler.restarts)
    if scheduler is None:
        phase = Phase.STARTING if restarting else Phase.PENDING
        reason, message = ("SCHEDULER_RESTARTING", "its scheduler is started again") if restarting else ("", "")
        ledger.edit(phase=phase, reason=reason, message=message)
    elif scheduler.joined is None:
        slow = now - (scheduler.launched or now) >= SLOW_START
        words = view.hub.trouble if slow and view.hub.instance == scheduler.id else ""
        reason = "SCHEDULER_RESTARTING" if restarting else "SCHEDULER_STARTING"
        message = f"its scheduler starts; {words}" if words else ""
        if scheduler.state is State.QUEUED:
            reason, message = "SCHEDULER_WAITING", f"its scheduler {scheduler.words or 'waits'}"
        ledger.edit(phase=Phase.STARTING, reason=reason, message=message)
    else:
        reason, message = _running(ledger, view)
        ledger.edit(phase=Phase.RUNNING, reason=reason, message=message)


def _running(ledger: Ledger, view: View) -> tuple[str, str]:
    if ledger.cluster.scheduler.heard is not None:
        return "SCHEDULER_SILENT", f"the scheduler does not answer: {view.hub.trouble}"
    differing = _versions_differing(ledger, view)
    failing = [group for group in ledger.cluster.groups if group.failures and group.running < group.desired]
    if failing:
        group = failing[0]
        words = f"group {group.name!r}: {group.message}"
        return "WORKERS_FAILING", f"{words}\n{differing}" if differing else words
    return (VERSIONS_DIFFER, differing) if differing else ("", "")


def _versions_differing(ledger: Ledger, view: View) -> str:
    """What the scheduler says of the versions of nodes that still live, in words; empty while it says nothing."""
    if view.hub.state is None or not view.is_of_scheduler:
        return ""
    living = {instance.id for instance in ledger.instances if instance.state is not State.ENDED}
    return mismatch((node for node in view.hub.state.nodes if node.instance in living), view.hub.versions)
