"""The policy: from what the scheduler said and what there is to what shall be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from daskd.control.adaptive import reasons
from daskd.control.adaptive.load import climb, forgotten, in_force, look
from daskd.control.adaptive.need import Launch, floor, held_by_data, kept, launches
from daskd.control.adaptive.placing import Served, place
from daskd.control.adaptive.standing import Standing, stand_all
from daskd.control.adaptive.victims import Victims, surplus_victims
from daskd.model.adaptive import (
    ClassMemory,
    Decision,
    Group,
    GroupDecision,
    GroupMemory,
    Instance,
    Memory,
    Reason,
    Snapshot,
)

STALE_INTERVALS = 3
MAX_CLASSES_REMEMBERED = 256


def decide(
    groups: Sequence[Group],
    snapshot: Snapshot | None,
    instances: Sequence[Instance],
    memory: Memory,
    now: float,
) -> Decision:
    """Decide how many instances each group launches, and which of them go.

    Parameters
    ----------
    groups
        The cluster's groups, the preferred first; names are unique.
    snapshot
        What the scheduler said last; None if nothing yet or nothing that could be believed.
    instances
        All instances of the groups that are not known to have ended.
    memory
        What the last decision said to remember; ``Memory()`` the first time.
    now
        Unix seconds.

    Returns
    -------
    A decision for each group whose count is not fixed. It is a function of the arguments alone: there is no
    clock and no chance in it, and nothing given is changed.
    """
    is_heard = snapshot is not None and not is_stale(snapshot, groups, now)
    standings = stand_all(groups, instances, snapshot if is_heard else None, now)
    adaptive = {name: standing for name, standing in standings.items() if not standing.group.fixed}
    if snapshot is None or not is_heard:
        last = memory.last_word if snapshot is None else snapshot.received
        return _without_word(adaptive, replace(memory, last_word=last), now)
    served, unplaceable = place(snapshot, groups, instances)
    loads = _remember_classes(memory, served, standings, now)
    past = {
        name: _initial(standing, memory.groups.get(name, GroupMemory()), _has_work(served, name), now)
        for name, standing in adaptive.items()
    }
    more_work = _work_to_come(snapshot, served)
    floors = {
        name: floor(standing, initial=not past[name].initial_done, more_work=more_work)
        for name, standing in adaptive.items()
    }
    started = launches(served, standings, loads, floors)
    keep = kept(served, standings, loads, now)
    tick = Tick(snapshot, served, now)
    decisions: dict[str, GroupDecision] = {}
    after: dict[str, GroupMemory] = {}
    for name, standing in adaptive.items():
        decided, after[name] = _decide_group(tick, standing, past[name], started[name], keep[name], floors[name][0])
        decisions[name] = replace(decided, leaving=tuple(item.id for item in standing.leaving))
    return Decision(decisions, unplaceable, Memory(loads, after, snapshot.received))


def is_stale(snapshot: Snapshot, groups: Sequence[Group], now: float) -> bool:
    """Whether a snapshot is older than three of the shortest interval."""
    return now - snapshot.received > STALE_INTERVALS * min((each.policy.interval for each in groups), default=math.inf)


@dataclass(frozen=True)
class Tick:
    """What is the same for all groups in one decision."""

    snapshot: Snapshot
    served: Sequence[Served]
    now: float


def _decide_group(
    tick: Tick, standing: Standing, past: GroupMemory, started: Sequence[Launch], needed: int, least: int
) -> tuple[GroupDecision, GroupMemory]:
    policy, now, group = standing.policy, tick.now, standing.group
    needed = group.whole(needed)
    stairs = climb(past.needed, now, needed, policy.remembered)
    held = in_force(stairs, now, needed, _allowed(standing, tick.snapshot.waiting > 0))
    keep = group.whole(max(held, least, held_by_data(standing)))
    surplus = standing.have - keep
    since = past.surplus_since if past.surplus_since is not None else now
    past = replace(past, needed=stairs, surplus_since=since if surplus > 0 else None)
    if started:
        return _grown(standing, started), past
    victims, held_back = Victims(), Reason.GRAPH
    if not tick.snapshot.graph_updates:
        victims, held_back = surplus_victims(standing, keep, past.surplus_since, tick.snapshot, now)
    gone = (len(victims.cancel) + len(victims.drain)) * group.workers_per_instance
    if gone:
        words = reasons.down(standing, victims, tick.snapshot, now)
        return (
            GroupDecision(standing.have - gone, 0, victims.cancel, victims.drain, words, Reason.DOWN),
            past,
        )
    code, words = _unchanged(tick, standing, needed, keep, held_back, stairs)
    return GroupDecision(standing.have, reason=words, code=code), past


def _grown(standing: Standing, started: Sequence[Launch]) -> GroupDecision:
    workers = sum(launch.workers for launch in started)
    chief = max(started, key=lambda launch: launch.workers)
    code = Reason.FILL_IN if chief.instead_of else chief.code
    return GroupDecision(
        target=standing.have + workers,
        launch=workers // standing.group.workers_per_instance,
        reason=reasons.up(standing, chief, workers),
        code=code,
    )


def _unchanged(
    tick: Tick,
    standing: Standing,
    needed: int,
    keep: int,
    held_back: Reason,
    stairs: Sequence[tuple[float, int]],
) -> tuple[Reason, str]:
    ready = sum(item.row.ready for item in tick.served if standing.group.name in item.groups)
    if not ready and standing.have > max(needed, standing.group.whole(standing.group.minimum)):
        code = held_back if standing.have > keep else Reason.HOLD
        if code is Reason.HOLD and keep == standing.group.whole(held_by_data(standing)):
            code = Reason.KEPT_DATA
        return code, reasons.held(standing, code, stairs, tick.now)
    if standing.room < standing.group.workers_per_instance and ready > standing.supply * standing.group.nthreads:
        return Reason.AT_MAXIMUM, reasons.at_maximum(standing, ready)
    return Reason.STEADY, reasons.steady(standing, ready)


def _allowed(standing: Standing, waiting: bool) -> Callable[[float], float]:
    """How much of a surplus may stand at an age in seconds."""
    policy = standing.policy

    def allowed(age: float) -> float:
        if age < policy.patience_before_shrinking:
            return math.inf
        if policy.is_literal:
            return 0
        if waiting and age < standing.start:
            return math.inf
        return math.floor(policy.hold * standing.start / age) if age > 0 else math.inf

    return allowed


def _without_word(standings: Mapping[str, Standing], memory: Memory, now: float) -> Decision:
    """Rather nothing than something wrong: the minimum is all that is certain without the scheduler."""
    decisions: dict[str, GroupDecision] = {}
    for name, standing in standings.items():
        group = standing.group
        missing = max(0, group.whole(group.minimum) - standing.have)
        decisions[name] = GroupDecision(
            target=standing.have + missing,
            launch=missing // group.workers_per_instance,
            reason=reasons.no_word(standing, missing, memory.last_word, now),
            code=Reason.NO_WORD,
        )
    return Decision(decisions, None, memory)


def _remember_classes(
    memory: Memory, served: Sequence[Served], standings: Mapping[str, Standing], now: float
) -> dict[str, ClassMemory]:
    rows = {item.row.key: item for item in served}
    longest = max((standing.span for standing in standings.values()), default=0.0)
    loads: dict[str, ClassMemory] = {}
    for key in [*rows, *(key for key in memory.classes if key not in rows)]:
        if key in rows or key in memory.classes:
            row = rows[key].row if key in rows else None
            load = look(memory.classes.get(key), row, now, min(600.0, longest))
            if row or not forgotten(load):
                loads[key] = load
    return dict(list(loads.items())[:MAX_CLASSES_REMEMBERED])


def _has_work(served: Sequence[Served], group: str) -> bool:
    return any(item.row.ready for item in served if group in item.groups)


def _work_to_come(snapshot: Snapshot, served: Sequence[Served]) -> bool:
    return snapshot.more_work and (snapshot.waiting > 0 or any(item.row.ready for item in served))


def _initial(standing: Standing, past: GroupMemory, has_work: bool, now: float) -> GroupMemory:
    """How far ``initial`` got: until its workers are there, then until work comes or its time is up."""
    if past.initial_done or not standing.group.initial:
        return past
    since = past.initial_since
    if since is None:
        there = standing.present >= standing.group.whole(standing.group.initial)
        return replace(past, initial_since=now) if there else past
    return replace(past, initial_done=has_work or now - since >= standing.policy.initial_hold)
