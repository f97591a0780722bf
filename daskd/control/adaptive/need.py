"""How many workers the work needs: a low bar to keep one, a high bar to start one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from daskd.control.adaptive.estimate import billed_start, measured, work_to_keep, work_to_start
from daskd.control.adaptive.load import steady_to_keep, steady_to_start
from daskd.control.adaptive.placing import Served
from daskd.control.adaptive.standing import Standing, limit
from daskd.control.adaptive.supply import ROUNDING, Bin, Demand, allot, awaited, fresh
from daskd.model.adaptive import ClassMemory, Reason

KEEP_LOAD = 0.7
"""Share of its slots that a steady load must use for them to be kept."""

START_LOAD = 0.9
"""Share of its slots beyond which a steady load gets another."""

GUESS_AT_LEAST = 2


@dataclass(frozen=True)
class Launch:
    """Workers to start in a group and why.

    If a class asked for them: its ready tasks and their seconds of work; if in place of another group's,
    that group, whether its launches fail, and how long its oldest pending instance has waited.
    """

    workers: int
    code: Reason
    tasks: int = 0
    work: float = 0.0
    example: str | None = None
    instead_of: str | None = None
    failing: bool = False
    waited: float = 0.0


def floor(standing: Standing, *, initial: bool, more_work: bool) -> tuple[int, Reason]:
    """The least workers of a group whatever its tasks, in whole instances, and which rule says so."""
    group = standing.group
    least = [(group.whole(group.minimum), Reason.UP_MINIMUM)]
    if initial:
        least.append((group.whole(group.initial), Reason.UP_INITIAL))
    if more_work:
        least.append((group.whole(_for_data(standing)), Reason.UP_MEMORY))
    if any(row.unique for row in standing.leaving_rows):
        least.append((group.whole(_to_take_over(standing)), Reason.UP_SUCCESSOR))
    return max(least, key=lambda item: item[0])


def _for_data(standing: Standing) -> int:
    """Workers that a group with too much in memory grows to; at most twice those that are there."""
    rows = [row for rows in standing.rows.values() for row in rows]
    room, held, policy = limit(rows), standing.nbytes, standing.policy
    if room is None or held <= policy.memory_high * room:
        return 0
    each = max((row.limit for row in rows), default=0)
    return min(math.ceil(held / (policy.memory_aim * each)), 2 * standing.present) if each else 0


def _to_take_over(standing: Standing) -> int:
    """Workers that can hold what those who leave hold alone, too; at most one for each of them."""
    leaving = len(standing.leaving) * standing.group.workers_per_instance
    return min(held_by_data(standing), standing.present + leaving)


def held_by_data(standing: Standing) -> int:
    """Workers that the data in a group's memory needs."""
    held = standing.nbytes
    each = max((row.limit for row in standing.all_rows), default=0)
    if not held:
        return 0
    return math.ceil(held / (standing.policy.memory_aim * each)) if each else 1


def launches(
    served: Sequence[Served],
    standings: Mapping[str, Standing],
    loads: Mapping[str, ClassMemory],
    floors: Mapping[str, tuple[int, Reason]],
) -> dict[str, list[Launch]]:
    """What each group is to start: its floor first, then for each class what none of its groups supplies.

    Started workers are counted at once as the next decision will count them, so that it asks for no more; but not
    in a group whose launches fail.
    """
    started: dict[str, list[Launch]] = {name: [] for name in standings}
    bins = [item for standing in standings.values() for item in standing.bins()]

    def start(standing: Standing, launch: Launch) -> None:
        started[standing.group.name].append(launch)
        if not standing.group.failing:
            bins.append(awaited(standing.group, launch.workers, 0.0, standing.start))

    for name, (least, code) in floors.items():
        missing = min(least - standings[name].have, standings[name].room)
        if missing > 0:
            start(standings[name], Launch(missing, code))
    for item in served:
        left = bins
        passed_over: list[str] = []
        for name in item.groups:
            standing = standings[name]
            room = standing.room - sum(launch.workers for launch in started[name])
            demand = _demand(item, standing, loads.get(item.row.key))
            left, short = allot(bins, demand, item.ranks, passed_over)
            launch = _launch(item, standing, demand, short, room)
            if launch.workers:
                start(standing, _instead(launch, [standings[each] for each in passed_over]))
                left, short = allot(bins, demand, item.ranks, passed_over)
            is_late = standing.start > standing.group.patience or standing.group.failing
            if not short and not is_late:
                break
            if is_late:
                passed_over.append(name)
        bins = left
    return started


def _instead(launch: Launch, passed_over: Sequence[Standing]) -> Launch:
    """The launch, with the group that it fills in for, if it does."""
    if not passed_over:
        return launch
    last = passed_over[-1]
    return replace(launch, instead_of=last.group.name, failing=last.group.failing, waited=max(last.ages, default=0.0))


def _demand(item: Served, standing: Standing, load: ClassMemory | None) -> Demand:
    row, each, policy = item.row, fresh(standing.group, 1).slots(item.row), standing.policy
    steady = steady_to_start(load, standing.span) if load else 0.0
    most = row.ready
    if not measured(row):
        most = min(most, each * _guess(standing))
    least = max(1, math.ceil(steady / START_LOAD - ROUNDING))
    return Demand(
        row=row,
        work=work_to_start(row, policy, standing.horizon),
        least=min(most, least),
        most=most,
        start=standing.start,
        horizon=standing.horizon,
    )


def _guess(standing: Standing) -> int:
    """Workers that work of which nothing is known may have: two, twice what runs, or what the guess pays."""
    billed = billed_start(standing.group, standing.start)
    paid = standing.group.ceiling if billed <= 0 else math.floor(standing.policy.guess / billed)
    replaced = len(standing.leaving) * standing.group.workers_per_instance
    return max(GUESS_AT_LEAST, 2 * standing.supply, standing.supply + replaced, paid)


def _launch(item: Served, standing: Standing, demand: Demand, short: int, room: int) -> Launch:
    group, row = standing.group, item.row
    workers = -(-short // fresh(group, 1).slots(row))
    instances = min(-(-workers // group.workers_per_instance), room // group.workers_per_instance)
    code = Reason.UP
    if not measured(row):
        code = Reason.UP_GUESS
    elif demand.work < demand.least * demand.horizon and demand.least > 1:
        code = Reason.UP_STEADY
    return Launch(instances * group.workers_per_instance, code, row.ready, demand.work, row.example)


def kept(
    served: Sequence[Served],
    standings: Mapping[str, Standing],
    loads: Mapping[str, ClassMemory],
    now: float,
) -> dict[str, int]:
    """Workers of each group whose count is not fixed that the work at hand justifies, were they all there.

    Those of a fixed count are there anyway, and do first what they can. What runs in a less preferred group stays
    until preferred ones really run.
    """
    counts = {name: 0 for name, standing in standings.items() if not standing.group.fixed}
    bins: list[Bin] = [fresh(each.group, each.supply) for each in standings.values() if each.group.fixed]
    for item in served:
        names = [name for name in item.groups if name in counts]
        if not names:
            continue
        first = standings[names[0]]
        wanted = _slots_to_keep(item, first, loads.get(item.row.key), now)
        demand = Demand(item.row, float(wanted), wanted, wanted, 0.0, 1.0)
        _, missing = allot(bins, demand, item.ranks)
        uncovered = missing
        for name in names:
            standing = standings[name]
            each = fresh(standing.group, 1).slots(item.row)
            there = standing.supply if name == names[0] else standing.have
            spare = max(0, there - counts[name])
            new = min(-(-max(0, missing) // each), standing.group.ceiling - counts[name])
            more = max(new, min(-(-max(0, uncovered) // each), spare))
            counts[name] += more
            bins.append(fresh(standing.group, more))
            missing -= more * each
            uncovered -= min(more, spare) * each
        bins, _ = allot(bins, demand, item.ranks)
    return counts


def _slots_to_keep(item: Served, standing: Standing, load: ClassMemory | None, now: float) -> int:
    row, policy = item.row, standing.policy
    steady = steady_to_keep(load, standing.span, now) / KEEP_LOAD if load else 0.0
    by_work = min(float(row.ready), work_to_keep(row, policy) / policy.keep_duration)
    return math.ceil(max(float(min(1, row.ready)), by_work, steady) - ROUNDING)
