"""Decisions in words: one line each, the figures first."""

from __future__ import annotations

from collections.abc import Sequence

from daskd.control.adaptive.estimate import STARTS_LOOKED_AT
from daskd.control.adaptive.need import Launch
from daskd.control.adaptive.standing import Standing
from daskd.control.adaptive.victims import Victims
from daskd.model.adaptive import Policy, Reason, Snapshot

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def up(standing: Standing, launch: Launch, workers: int) -> str:
    """Why workers are started: the launch that asked for the most of them."""
    have = standing.have
    head = f"up {have} to {have + workers}"
    if standing.leaving:
        leaving = len(standing.leaving) * standing.group.workers_per_instance
        head += f", {leaving} more end before long"
    if launch.instead_of:
        return f"{workers} more on `{standing.group.name}`: `{launch.instead_of}` {_hindrance(launch)}"
    takes = f"a worker takes {seconds(standing.start)} to start ({_known_from(standing)})"
    return {
        Reason.UP_MINIMUM: f"{head}: the minimum is {standing.group.minimum}",
        Reason.UP_INITIAL: f"{head}: {standing.group.initial} to begin with",
        Reason.UP_MEMORY: f"{head}: {size(standing.nbytes)} held and more work to come",
        Reason.UP_SUCCESSOR: f"{head}: {size(sum(row.unique for row in standing.leaving_rows))} move from them",
        Reason.UP_GUESS: f"{head} (a guess): none of the {_tasks(launch)} was measured yet",
        Reason.UP_STEADY: f"{head}: a steady stream keeps the others busy; {takes}",
    }.get(launch.code, f"{head}: {_tasks(launch)}, {launch.work:,.0f} s of work, {takes}")


def _hindrance(launch: Launch) -> str:
    if launch.failing:
        return "fails to start workers"
    return f"has let us wait for {seconds(launch.waited)}" if launch.waited else "is slow to start"


def down(standing: Standing, victims: Victims, snapshot: Snapshot, now: float) -> str:
    """Why workers go."""
    each = standing.group.workers_per_instance
    parts = []
    if victims.cancel:
        parts.append(f"down {len(victims.cancel) * each}: no longer needed, not started yet")
    if victims.drain:
        rows = [row for name in victims.drain for row in standing.rows[name]]
        idle = min((snapshot.idle_for(row, now) for row in rows if row.idle), default=0.0)
        moves = f"{size(sum(row.unique for row in rows))} to move"
        busy = sum(not row.idle for row in rows)
        state = f"{busy} of them drained first" if busy else f"idle {seconds(idle)}"
        parts.append(f"down {len(victims.drain) * each}: {state}, {moves}")
    return "; ".join(parts)


def held(standing: Standing, code: Reason, stairs: Sequence[tuple[float, int]], now: float) -> str:
    """Why workers that have nothing to do stay."""
    have = standing.have
    if code is Reason.GRAPH:
        return f"hold {have}: a graph is being taken in"
    if code is Reason.KEPT_DATA:
        return f"kept {have}: fewer could not hold {size(standing.nbytes)}"
    if code is Reason.KEPT_BUSY:
        return f"kept {have}: the rest are busy, hold actors, or have been idle only for a moment"
    age = max((now - t for t, _ in stairs[:-1]), default=0.0)
    head, policy = f"hold {have}: not needed for {seconds(age)}", standing.policy
    first = policy.patience_before_shrinking
    if policy.cool_down is not None and policy.cool_down >= first:
        return f"{head}; the cool-down is {seconds(first)}"
    if policy.is_literal:
        return f"{head}; all stay until {seconds(first)} of it"
    return f"{head}; a new one takes {seconds(standing.start)}, so {_plan(standing, policy)}"


def _plan(standing: Standing, policy: Policy) -> str:
    """Until when how many stay, in at most three steps."""
    first = policy.patience_before_shrinking
    steps: list[str] = []
    for workers in sorted({standing.have, max(1, standing.have // 2), 1}, reverse=True):
        until = min(policy.hold_cap, max(first, policy.hold * standing.start / workers))
        steps.append(f"{workers} stay until {seconds(until)}")
    return ", ".join(steps) + " of it"


def at_maximum(standing: Standing, ready: int) -> str:
    """Why no more are started though there is work."""
    return f"steady at the maximum of {standing.group.maximum}: {ready:,} tasks are ready"


def steady(standing: Standing, ready: int) -> str:
    """Why nothing changes."""
    awaited = f", {standing.awaited} of them on their way" if standing.awaited else ""
    work = f"{ready:,} tasks are ready" if ready else "no task is ready"
    return f"steady at {standing.have}{awaited}: {work}"


def no_word(standing: Standing, missing: int, last: float | None, now: float) -> str:
    """Why nothing but the minimum is seen to."""
    since = "yet" if last is None else f"for {seconds(max(0.0, now - last))}"
    head = f"hold {standing.have}"
    if missing:
        head = f"up {standing.have} to {standing.have + missing}, the minimum"
    return f"{head}: no word from the scheduler {since}"


def _tasks(launch: Launch) -> str:
    example = f" like `{launch.example}`" if launch.example else ""
    return f"{launch.tasks:,} tasks{example}"


def _known_from(standing: Standing) -> str:
    starts = min(len(standing.group.start_times), STARTS_LOOKED_AT)
    return f"median of {starts}" if starts else "as its driver says"


def seconds(value: float) -> str:
    """A span in seconds, or in minutes, hours, days from a few of them on."""
    if value >= 172_800:
        return f"{value / 86_400:.0f} d"
    if value >= 10_800:
        return f"{value / 3600:.0f} h"
    if value >= 180:
        return f"{value / 60:.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def size(nbytes: int) -> str:
    """Bytes in the unit that suits them."""
    for unit, name in _UNITS:
        if nbytes >= unit:
            return f"{nbytes / unit:.3g} {name}"
    return f"{nbytes} B"
