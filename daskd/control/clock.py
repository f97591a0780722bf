"""Pure: times that lie ahead were written before the clock was set back. What counts from them counts from now."""

from __future__ import annotations

from collections.abc import Mapping

from .backoff import MOST
from .ledger import Ledger

_TIMES = ("created", "launched", "joined", "retiring", "stopping", "rotating")


def is_over(times: Mapping[str, float], key: str, wait: float, now: float) -> bool:
    """Whether a wait that began then is over; one that began after now was begun before the clock was set back."""
    then = times.get(key)
    return then is None or not 0 <= now - then < wait


def set_back(ledger: Ledger, now: float) -> None:
    """Bring times of the record that lie ahead of the clock to `now`, so that nothing waits until it catches up."""
    for instance in ledger.instances:
        ahead = {name: now for name in _TIMES if (getattr(instance, name) or 0.0) > now}
        if ahead:
            ledger.edit_instance(instance.id, **ahead)
    for group in ledger.cluster.groups:
        if group.retry_at is not None and group.retry_at > now + MOST:
            ledger.edit_group(group.name, retry_at=now + MOST)
    scheduler = ledger.cluster.scheduler
    if any(t > now for t in scheduler.restarts):
        ledger.edit_scheduler(restarts=tuple(min(t, now) for t in scheduler.restarts))
    if (scheduler.started or 0.0) > now:
        ledger.edit_scheduler(started=now)
