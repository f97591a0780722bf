"""Short ways to write down a cluster's state; every default is the dullest one."""

from __future__ import annotations

from typing import Any

from daskd.model.adaptive import ClassRow, Group, Instance, InstanceState, PrefixRow, Snapshot, WorkerRow

NOW = 1_790_000_000.0


def group(name: str = "default", maximum: int = 200, **fields: Any) -> Group:
    """A group of one-thread workers on machines that take three minutes, unless said otherwise."""
    return Group(name, maximum, **{"start_times": (180.0,), "patience": 1e9, **fields})


def tasks(
    count: int, mean: float | None = 1.0, longest: float | None = None, executing: int = 0, **fields: Any
) -> ClassRow:
    """A class of tasks of one duration."""
    return ClassRow(count, executing, (PrefixRow(count, mean, longest),), **fields)


def snapshot(*classes: ClassRow, workers: Any = (), at: float = NOW, **fields: Any) -> Snapshot:
    """What the scheduler said at a moment."""
    more = any(row.ready for row in classes)
    return Snapshot(t=at, received=at, classes=classes, workers=tuple(workers), **{"more_work": more, **fields})


def pending(count: int, age: float = 0.0, group: str = "default", prefix: str = "p") -> list[Instance]:
    """Instances that were launched ``age`` seconds ago."""
    return [Instance(f"{prefix}{n}", group, InstanceState.PENDING, NOW - age) for n in range(count)]


def running(
    count: int, group: str = "default", prefix: str = "r", each: int = 1, **row: Any
) -> tuple[list[Instance], list[WorkerRow]]:
    """Instances that have run for long, and their workers' rows: idle for an hour unless said otherwise."""
    names = [f"{prefix}{n}" for n in range(count)]
    instances = [Instance(name, group, InstanceState.RUNNING, NOW - 1e4, started=NOW - 9e3) for name in names]
    fields = {"idle_since": None if row.get("processing") else NOW - 3600, "limit": 4 * 10**9, **row}
    rows = [WorkerRow(f"{name}-{k}", name, **fields) for name in names for k in range(each)]
    return instances, rows
