"""Slots: what workers offer to a class of tasks, and how classes share the same workers.

A slot is a thread, or less where a restriction says so. Workers that are alike stand in one :class:`Bin`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from daskd.model.adaptive import ClassRow, Group, Pairs

ROUNDING = 1e-9


@lru_cache(maxsize=4096)
def _slots(threads: int, have: Pairs, needs: Pairs) -> int:
    amounts = dict(have)
    for name, need in needs:
        if need > 0:
            threads = min(threads, math.floor(amounts.get(name, 0.0) / need + ROUNDING))
    return threads


@dataclass(frozen=True, slots=True)
class Bin:
    """Workers of one group that were launched together and have the same left to give."""

    group: str
    workers: int
    threads: int
    resources: Pairs
    age: float = 0.0
    arrival: float = 0.0
    running: bool = True

    def slots(self, row: ClassRow) -> int:
        """Tasks of the class that one of the workers can run at once."""
        return _slots(self.threads, self.resources, row.resources)

    def take(self, row: ClassRow, count: int) -> list[Bin]:
        """The bins that are left of this one once ``count`` slots of it are taken, worker by worker.

        Workers without a thread to give are left out.
        """
        each = self.slots(row)
        full, rest = divmod(count, each)
        left: list[Bin] = []
        if full and each < self.threads:
            left.append(self._used(row, each, full))
        if rest:
            left.append(self._used(row, rest, 1))
        if untouched := self.workers - full - bool(rest):
            left.append(replace(self, workers=untouched))
        return left

    def _used(self, row: ClassRow, count: int, workers: int) -> Bin:
        need = dict(row.resources)
        left = tuple((name, have - count * need.get(name, 0.0)) for name, have in self.resources)
        return replace(self, workers=workers, threads=self.threads - count, resources=left)


def fresh(group: Group, workers: int) -> Bin:
    """Running workers of a group of which nothing is taken yet."""
    return Bin(group.name, workers, group.nthreads, group.resources)


def awaited(group: Group, workers: int, age: float, arrival: float) -> Bin:
    """Workers of a group that were launched ``age`` seconds ago and are due in ``arrival`` seconds."""
    return replace(fresh(group, workers), age=age, arrival=arrival, running=False)


@dataclass(frozen=True)
class Demand:
    """What a class wants of the slots: ``work`` seconds, done ``horizon`` seconds after a start."""

    row: ClassRow
    work: float
    least: int
    most: int
    start: float
    horizon: float

    def short(self, work: float, taken: int) -> int:
        """Slots to start, with ``work`` seconds left to hand out and ``taken`` slots had."""
        wanted = math.ceil(work / self.horizon - ROUNDING)
        return max(0, min(self.most - taken, max(wanted, self.least - taken)))


def allot(
    bins: Sequence[Bin], demand: Demand, groups: Mapping[str, int], passed_over: Collection[str] = ()
) -> tuple[list[Bin], int]:
    """Give a class the slots it needs: running ones first, then the longest awaited, no more than needed.

    That order stays the same while time passes, and what is launched comes last in it: a later decision
    finds the same slots left for the next class.

    Parameters
    ----------
    bins
        What is left to give.
    demand
        What the class wants.
    groups
        The groups that can serve it, and their ranks.
    passed_over
        Groups whose pending workers do not count.

    Returns
    -------
    The bins that are left, and how many slots are short.
    """
    left: list[Bin] = []
    work, taken = demand.work, 0
    ordered = sorted(bins, key=lambda b: (not b.running, -b.age, groups.get(b.group, 0)))
    for at, item in enumerate(ordered):
        if taken >= demand.most or (work <= 0 and taken >= demand.least):
            left += ordered[at:]  # nothing more is wanted
            break
        worth = demand.start + demand.horizon - item.arrival
        each = item.slots(demand.row) if item.group in groups else 0
        late = item.group in passed_over and not item.running
        if each < 1 or worth <= 0 or late:
            left.append(item)
            continue
        wanted = max(math.ceil(work / worth - ROUNDING), demand.least - taken)
        count = max(0, min(item.workers * each, demand.most - taken, wanted))
        left += item.take(demand.row, count) if count else [item]
        taken += count
        work -= count * worth
    return left, demand.short(work, taken)
