"""Who goes when there are too many: always whole instances, and first those whose going costs least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daskd.control.adaptive.standing import Standing
from daskd.model.adaptive import Billing, Instance, InstanceState, Policy, Reason, Snapshot, WorkerRow


@dataclass(frozen=True)
class Victims:
    """Ids of pending instances to end at once, and of running ones to drain and retire, first to go first."""

    cancel: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()


def choose_victims(instances: Iterable[Instance], workers: Iterable[WorkerRow], count: int) -> Victims:
    """Choose exactly ``count`` instances to go because a user wants fewer, or all if there are no more.

    Pending ones go first, the youngest first. Then idle before busy; those with long-running tasks or
    actors last of all (retiring such a worker may be refused); fewest bytes that are nowhere else; nearest
    to its end; by id. Instances that are ending already are passed over.

    Parameters
    ----------
    instances
        The instances of the group to shrink.
    workers
        The scheduler's rows of their workers; others are passed over.
    count
        How many instances shall go.
    """
    present = list(instances)
    pending = youngest_first(item for item in present if item.state is InstanceState.PENDING)
    cancel = pending[: max(0, count)]
    rows: dict[str, list[WorkerRow]] = {}
    for row in workers:
        if row.instance is not None:
            rows.setdefault(row.instance, []).append(row)
    running = [item for item in present if item.state is InstanceState.RUNNING]
    running.sort(key=lambda item: _rank(item, rows.get(item.id, ())))
    drain = running[: max(0, count - len(cancel))]
    return Victims(tuple(item.id for item in cancel), tuple(item.id for item in drain))


def youngest_first(instances: Iterable[Instance]) -> list[Instance]:
    """Pending instances in the order in which they go."""
    return sorted(instances, key=lambda item: (-item.launched, item.id))


def _rank(instance: Instance, rows: Sequence[WorkerRow]) -> tuple[bool, bool, int, float, str]:
    end = math.inf if instance.expected_end is None else instance.expected_end
    return (
        any(row.long_running or row.actors for row in rows),
        not _idle(rows),
        sum(row.unique for row in rows),
        end,
        instance.id,
    )


def surplus_victims(
    standing: Standing,
    keep: int,
    surplus_since: float | None,
    snapshot: Snapshot,
    now: float,
) -> tuple[Victims, Reason]:
    """Choose what goes of a group's surplus over ``keep`` workers, and say what holds the rest back.

    Unlike :func:`choose_victims` this never takes what work or data still needs, and so may take fewer.
    """
    each = standing.group.workers_per_instance
    surplus = max(0, standing.have - keep) // each
    if not surplus:
        return Victims(), Reason.HOLD
    useful = max(0, standing.supply + standing.awaited - keep)
    awaited = min(surplus, len(standing.pending), useful // each)
    cancel: list[Instance] = []
    if awaited and _may_cancel(standing, surplus_since, now):
        cancel = youngest_first(standing.pending)[:awaited]
    eligible = _eligible(standing, snapshot, now)
    rest = useful - awaited * each
    drain, held_back = _to_drain(standing, surplus - awaited, rest, eligible)
    chosen = Victims(tuple(item.id for item in cancel), tuple(item.id for item in drain))
    return chosen, held_back if not (cancel or drain) else Reason.DOWN


def _may_cancel(standing: Standing, surplus_since: float | None, now: float) -> bool:
    """Whether pending instances may go: where waiting costs nothing they keep their place for a while."""
    if standing.group.billing is Billing.FROM_LAUNCH:
        return True
    return surplus_since is not None and now - surplus_since >= min(standing.start, standing.policy.hold_cap)


def _eligible(standing: Standing, snapshot: Snapshot, now: float) -> list[Instance]:
    named = {name for row in snapshot.classes if row.ready for name in row.workers}
    return [
        item
        for item in standing.running
        if _known_long_enough(standing, item, now)
        and all(_may_go(row, named, standing.policy, snapshot, now) for row in standing.rows[item.id])
    ]


def _known_long_enough(standing: Standing, instance: Instance, now: float) -> bool:
    """Whether those of an instance's workers that the scheduler does not name have had time to register."""
    if len(standing.rows[instance.id]) >= standing.group.workers_per_instance:
        return True
    since = instance.launched if instance.started is None else instance.started
    return now - since >= max(standing.policy.least_idle, standing.start)


def _may_go(row: WorkerRow, named: set[str], policy: Policy, snapshot: Snapshot, now: float) -> bool:
    if row.long_running or row.actors or row.name in named:
        return False
    if row.idle:
        rest = max(policy.least_idle, row.unique / policy.bandwidth)
        return row.idle_since is not None and snapshot.idle_for(row, now) >= rest
    return max(row.elapsed, row.expected) <= policy.drain_max


def _to_drain(
    standing: Standing, count: int, useful: int, eligible: Sequence[Instance]
) -> tuple[list[Instance], Reason]:
    """The first ``count`` of the eligible ones, as long as the rest hold all data and keep their supply.

    Where idle ones may go, now or in a moment, no busy one goes in their place.
    """
    rows, aim = standing.rows, standing.policy.memory_aim
    busy_left = count - sum(_idle(rows[item.id]) for item in standing.running)
    room = _Room.of(row for some in rows.values() for row in some)
    chosen: list[Instance] = []
    held_back = Reason.KEPT_BUSY if count > 0 else Reason.HOLD
    for item in sorted(eligible, key=lambda item: _rank(item, rows[item.id])):
        if len(chosen) >= count:
            break
        supplies, busy = standing.supplied_by(item), not _idle(rows[item.id])
        if supplies > useful or (busy and busy_left <= 0):
            continue
        rest = room.without(rows[item.id])
        if not rest.holds(standing.nbytes, aim):
            held_back = Reason.KEPT_DATA
            continue
        room = rest
        chosen.append(item)
        useful -= supplies
        busy_left -= busy
    return chosen, held_back


def _idle(rows: Sequence[WorkerRow]) -> bool:
    return all(row.idle for row in rows)


@dataclass(frozen=True)
class _Room:
    """What workers that take tasks can hold: bytes, and how many of them have no limit."""

    nbytes: int
    unlimited: int

    @classmethod
    def of(cls, rows: Iterable[WorkerRow]) -> _Room:
        limits = [row.limit for row in rows if row.status == "running"]
        return cls(sum(limits), limits.count(0))

    def without(self, rows: Iterable[WorkerRow]) -> _Room:
        """What is left when some of the workers go."""
        gone = _Room.of(rows)
        return _Room(self.nbytes - gone.nbytes, self.unlimited - gone.unlimited)

    def holds(self, nbytes: int, aim: float) -> bool:
        """Whether that many bytes fill the workers to no more than the aim."""
        return not nbytes or self.unlimited > 0 or nbytes <= aim * self.nbytes
