"""How long things take: a group's start, the horizon that new workers must be worth, the work of a class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median_high

from daskd.model.adaptive import Billing, ClassRow, Group, Policy, PrefixRow

STARTS_LOOKED_AT = 9
BILLED_BEFORE_START = 5.0
"""Seconds of a start that cost where the wait for it does not."""


def start_time(group: Group, ages: Sequence[float]) -> float:
    """Seconds that an instance of the group takes to start, given the ages of those that are pending.

    The age of a pending instance is a lower bound of one more start, so the oldest join the last starts one
    by one, and the largest median of all is the answer. One straggler moves it by half a rank, a line that
    has stopped moves it to the ages in the line. A launch doesn't change it, and while nothing but time
    passes it never falls, else what is awaited already would be asked for again.
    """
    starts = list(group.start_times[-STARTS_LOOKED_AT:]) or [group.stated_start]
    oldest = sorted(ages, reverse=True)[:STARTS_LOOKED_AT]
    return max(median_high(starts + oldest[:joined]) for joined in range(len(oldest) + 1))


def arrival(start: float, age: float) -> float:
    """Seconds until a pending instance is there.

    One that is overdue counts as due: expecting it later would ask for another in its place, and it would
    be asked for again each time it is late.
    """
    return max(0.0, start - age)


def horizon(policy: Policy, start: float) -> float:
    """Seconds of work that must await a new worker when it arrives."""
    if policy.target_duration is not None:
        return policy.target_duration
    return max(policy.keep_duration, start / policy.start_share)


def billed_start(group: Group, start: float) -> float:
    """Seconds of a start that cost."""
    return start if group.billing is Billing.FROM_LAUNCH else min(start, BILLED_BEFORE_START)


def measured(row: ClassRow) -> bool:
    """Whether any duration of the class's tasks is known, be it a lower bound."""
    return any(prefix.mean is not None or prefix.longest for prefix in row.rows if prefix.count)


def work_to_keep(row: ClassRow, policy: Policy) -> float:
    """Seconds of work in a class, high rather than low: what only runs yet counts twice its time so far."""
    return _work(row, policy, factor=lambda _: 2.0)


def work_to_start(row: ClassRow, policy: Policy, due: float) -> float:
    """Seconds of work in a class, low rather than high, for work that must last ``due`` seconds.

    What only runs yet counts its time so far, and twice that once it has run for half of ``due``.
    """
    return _work(row, policy, factor=lambda longest: 2.0 if longest > due / 2 else 1.0)


def _work(row: ClassRow, policy: Policy, factor: Callable[[float], float]) -> float:
    others = _mean_of_measured(row.rows)
    unseen = policy.unknown_duration if others is None else others
    total = 0.0
    counted = 0
    for prefix in row.rows:
        counted += prefix.count
        if prefix.mean is not None:
            total += prefix.count * prefix.mean
        elif prefix.longest:
            total += prefix.count * prefix.longest * factor(prefix.longest)
        else:
            total += prefix.count * unseen
    return total + max(0, row.ready - counted) * unseen


def _mean_of_measured(rows: Sequence[PrefixRow]) -> float | None:
    known = [(row.count, row.mean) for row in rows if row.mean is not None and row.count]
    if not known:
        return None
    return math.fsum(count * mean for count, mean in known) / sum(count for count, _ in known)
