"""Pure: a scheduler whose job has a walltime ends with it, and its tasks with it; that is told well before."""

from __future__ import annotations

from daskd.model.cluster import Instance, Role, State

from .adaptive.reasons import seconds
from .ledger import Ledger
from .view import View

AHEAD = 1800.0
"""Seconds before its end at which it is told; at half of a shorter time."""


def tell(ledger: Ledger, view: View, now: float) -> None:
    """Tell, once, that the scheduler's time is nearly over; anew if it was given more meanwhile."""
    scheduler = next((i for i in ledger.instances if i.role is Role.SCHEDULER and i.state is not State.ENDED), None)
    if scheduler is None or scheduler.stopping is not None or ledger.cluster.stop:
        return
    is_near = scheduler.expected_end is not None and scheduler.expected_end - now <= _ahead(scheduler)
    if not is_near:
        if scheduler.rotating is not None:
            ledger.edit_instance(scheduler.id, rotating=None)
        return
    if scheduler.rotating is not None or scheduler.joined is None or scheduler.expected_end is None:
        return
    ledger.edit_instance(scheduler.id, rotating=now)
    left = seconds(max(0.0, scheduler.expected_end - now))
    ledger.tell(
        "SCHEDULER_WALLTIME",
        f"the scheduler's own time ends in {left}: it is started again then, at another address, empty. Whatever it "
        f"has by then is lost{_lost(view)}: save what you need, and next time ask for a longer walltime "
        "(`scheduler.driver_options`)",
        instance=scheduler.id,
    )


def _ahead(scheduler: Instance) -> float:
    begun = scheduler.started or scheduler.launched or scheduler.created
    return min(AHEAD, max(0.0, (scheduler.expected_end or begun) - begun) / 2)


def _lost(view: View) -> str:
    if view.hub.state is None or not view.is_of_scheduler:
        return ""
    tasks = sum(count for name, count in view.hub.state.tasks.items() if name != "released")
    return f", {tasks} tasks and their results now" if tasks else ""
