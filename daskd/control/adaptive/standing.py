"""How a group stands at the moment: its instances and their workers, what they supply and what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from daskd.control.adaptive.ending import is_leaving
from daskd.control.adaptive.estimate import arrival, horizon, start_time
from daskd.control.adaptive.supply import Bin, awaited, fresh
from daskd.model.adaptive import Group, Instance, InstanceState, Policy, Snapshot, WorkerRow


@dataclass(frozen=True)
class Standing:
    """A group now.

    Attributes
    ----------
    start, horizon
        Seconds that a start takes, and of work that a new worker must be worth.
    running, pending
        Instances that are not ending, nor before long; the pending ones oldest first.
    rows
        The scheduler's rows of each running instance's workers.
    ages
        Seconds since each pending instance was launched.
    leaving, leaving_rows
        Instances that end before long, and the rows of their workers: they supply nothing, and their data moves.
    """

    group: Group
    start: float
    horizon: float
    running: tuple[Instance, ...]
    pending: tuple[Instance, ...]
    rows: dict[str, tuple[WorkerRow, ...]]
    ages: tuple[float, ...]
    leaving: tuple[Instance, ...] = ()
    leaving_rows: tuple[WorkerRow, ...] = ()

    @property
    def policy(self) -> Policy:
        """The group's parameters."""
        return self.group.policy

    @property
    def span(self) -> float:
        """Seconds from asking for a worker to its share of the work done."""
        return self.start + self.horizon

    @property
    def present(self) -> int:
        """Workers of running instances."""
        return len(self.running) * self.group.workers_per_instance

    @property
    def awaited(self) -> int:
        """Workers of pending instances."""
        return len(self.pending) * self.group.workers_per_instance

    @property
    def have(self) -> int:
        """Workers, there or awaited."""
        return self.present + self.awaited

    @property
    def lacking(self) -> int:
        """Workers up to its ceiling that are neither there nor awaited."""
        return max(0, self.group.ceiling - self.have)

    @property
    def room(self) -> int:
        """Workers that may be started for the work; none in a group whose count somebody fixed."""
        return 0 if self.group.fixed else self.lacking

    @cached_property
    def supply(self) -> int:
        """Workers that take tasks."""
        return sum(self.supplied_by(instance) for instance in self.running)

    @cached_property
    def nbytes(self) -> int:
        """Bytes that the workers hold for tasks, those included that come to them from who leaves."""
        return sum(row.nbytes for row in self.all_rows)

    @cached_property
    def all_rows(self) -> tuple[WorkerRow, ...]:
        """The rows of all workers that hold anything, those that leave included."""
        return (*(row for rows in self.rows.values() for row in rows), *self.leaving_rows)

    def supplied_by(self, instance: Instance) -> int:
        """Workers of a running instance that take tasks.

        One that the scheduler does not name is about to register, or is restarted by its node.
        """
        silent = sum(row.status != "running" for row in self.rows[instance.id])
        return max(0, self.group.workers_per_instance - silent)

    def bins(self) -> list[Bin]:
        """All that takes tasks, now or once it is there."""
        each = self.group.workers_per_instance
        bins = [
            awaited(self.group, each * len(list(alike)), age, arrival(self.start, age))
            for age, alike in groupby(self.ages)
        ]
        if supply := self.supply:
            bins.append(fresh(self.group, supply))
        if self.group.fixed and self.lacking and not self.group.failing:
            bins.append(awaited(self.group, self.lacking, 0.0, self.start))  # the reconciler launches them
        return bins


def limit(rows: Iterable[WorkerRow]) -> int | None:
    """Bytes that the workers which take tasks may hold together; None if one of them has no limit."""
    limits = [row.limit for row in rows if row.status == "running"]
    return None if 0 in limits else sum(limits)


def stand_all(
    groups: Iterable[Group], instances: Iterable[Instance], snapshot: Snapshot | None, now: float
) -> dict[str, Standing]:
    """How each group stands, by name, given all instances of the cluster."""
    by_group: dict[str, list[Instance]] = {}
    for item in instances:
        by_group.setdefault(item.group, []).append(item)
    by_instance: dict[str, list[WorkerRow]] = {}
    for row in snapshot.workers if snapshot else ():
        if row.instance is not None:
            by_instance.setdefault(row.instance, []).append(row)
    said = by_instance if snapshot else None
    return {group.name: stand(group, by_group.get(group.name, ()), said, now) for group in groups}


def stand(
    group: Group, instances: Sequence[Instance], by_instance: Mapping[str, Sequence[WorkerRow]] | None, now: float
) -> Standing:
    """How a group stands.

    Parameters
    ----------
    instances
        The group's.
    by_instance
        The scheduler's rows of the whole cluster, by instance id; None: it has said nothing.
    """
    own = [item for item in instances if item.state is not InstanceState.ENDING]
    waiting = (item for item in own if item.state is InstanceState.PENDING and not item.rotating)
    pending = tuple(sorted(waiting, key=lambda item: (item.launched, item.id)))
    ages = [max(0.0, now - item.launched) for item in pending]
    start = start_time(group, ages)
    rows = {item.id: tuple((by_instance or {}).get(item.id, ())) for item in own}
    # of a fixed count, and without the scheduler's word, nothing new is decided: who was leaving still is
    decides = by_instance is not None and not group.fixed
    leaving = tuple(
        item for item in own if item.rotating or (decides and is_leaving(item, rows[item.id], start, group.policy, now))
    )
    gone = {item.id for item in leaving}
    running = tuple(item for item in own if item.state is InstanceState.RUNNING and item.id not in gone)
    return Standing(
        group=group,
        start=start,
        horizon=horizon(group.policy, start),
        running=running,
        pending=pending,
        rows={item.id: rows[item.id] for item in running},
        ages=tuple(ages),
        leaving=leaving,
        leaving_rows=tuple(row for item in leaving for row in rows[item.id]),
    )
