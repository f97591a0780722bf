"""What the last minutes were like: means over several windows, and peaks as a falling staircase."""

from __future__ import annotations

import math
from collections.abc import Callable

from daskd.model.adaptive import ClassMemory, ClassRow, Staircase

WINDOWS = (5.0, 15.0, 45.0, 135.0, 405.0, 1215.0, 3645.0)
"""Seconds. All are kept whatever the start time is now, so that a start time that changes forgets no load."""

SLOW = 6.0
"""The slow mean's window over the fast one's."""

LONGEST_GAP = 60.0
"""Seconds for which one look speaks at most: what ran while nobody looked is not known."""

MAX_STAIRS = 100
FORGOTTEN = 1e-3


def look(memory: ClassMemory | None, row: ClassRow | None, now: float, window: float) -> ClassMemory:
    """A class's memory after a look at it; without a row nothing of it is ready."""
    ready = row.ready if row else 0
    executing = min(row.executing, ready) if row else 0
    if memory is None or len(memory.means) != len(WINDOWS):
        memory = ClassMemory(at=now, means=(0.0,) * len(WINDOWS))
    gap = min(LONGEST_GAP, max(0.0, now - memory.at))
    means = tuple(
        mean + (1 - math.exp(-gap / tau)) * (executing - mean) for mean, tau in zip(memory.means, WINDOWS, strict=True)
    )
    return ClassMemory(at=now, means=means, peaks=climb(memory.peaks, now, ready, window))


def forgotten(memory: ClassMemory) -> bool:
    """Whether nothing of the memory can matter any more."""
    return max(memory.means) < FORGOTTEN and not any(level for _, level in memory.peaks)


def steady_to_keep(memory: ClassMemory, span: float, now: float) -> float:
    """Slots that a class keeps busy all the time, over a start and horizon of ``span`` seconds.

    The smaller of a fast and a slow mean: a burst's tail is in the slow one only, its head in the fast one
    only. And no more than was ready at any time in ``span``.
    """
    fast, slow = _window(span), _window(SLOW * span)
    mean = min(memory.means[WINDOWS.index(fast)], memory.means[WINDOWS.index(slow)])
    return min(mean, peak(memory.peaks, now, span))


def steady_to_start(memory: ClassMemory, span: float) -> float:
    """Slots that a class has kept busy for long enough to start workers for.

    The smallest of all means up to the slow one, so that a larger ``span`` only ever makes it smaller.
    """
    slow = _window(SLOW * span)
    return min(mean for mean, tau in zip(memory.means, WINDOWS, strict=True) if tau <= slow)


def _window(span: float) -> float:
    """The window nearest to ``span``, by ratio; rises with it."""
    return min(WINDOWS, key=lambda tau: abs(math.log(tau / max(span, WINDOWS[0]))))


def climb(stairs: Staircase, now: float, level: int, window: float) -> Staircase:
    """The staircase after ``level`` was reached now; what is older than ``window`` seconds is left out."""
    kept = [(t, step) for t, step in stairs if step > level and now - t <= window]
    kept.append((now, level))
    while len(kept) > MAX_STAIRS:
        # of two stairs make one that is no lower and no older than either
        at = min(range(len(kept) - 1), key=lambda i: kept[i][1] - kept[i + 1][1])
        kept[at : at + 2] = [(kept[at + 1][0], kept[at][1])]
    return tuple(kept)


def peak(stairs: Staircase, now: float, window: float) -> int:
    """The highest level in the last ``window`` seconds."""
    return max((level for t, level in stairs if now - t <= window), default=0)


def in_force(stairs: Staircase, now: float, level: int, allowed: Callable[[float], float]) -> int:
    """The level to keep to: of each stair as much as ``allowed`` lets stand over ``level`` at its age."""
    held = (min(step, level + allowed(max(0.0, now - t))) for t, step in stairs)
    return int(max(held, default=level))
