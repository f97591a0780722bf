"""Pure: what listings tell in durations, told as moments that stay where they are from one listing to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from daskd.drivers.protocol import Observation

STARTED_WITHIN_S = 5.0
END_WITHIN_S = 30.0


class Steady:
    """What was said of each instance last time."""

    def __init__(self) -> None:
        self._before: dict[str, Observation] = {}

    def kept(self, seen: Iterable[Observation], now: float) -> list[Observation]:
        """The same observations; moments that only the rounding of durations moved, and waits that go on, as before."""
        kept = [self._as_before(one, now) for one in seen]
        self._before = {one.handle.id: one for one in kept}
        return kept

    def _as_before(self, seen: Observation, now: float) -> Observation:
        before = self._before.get(seen.handle.id)
        waiting = None if seen.wait is None else now
        if before is None:
            return dataclasses.replace(seen, waiting=waiting)
        return dataclasses.replace(
            seen,
            started=_near(before.started, seen.started, STARTED_WITHIN_S),
            expected_end=_near(before.expected_end, seen.expected_end, END_WITHIN_S),
            waiting=before.waiting if seen.wait is not None and seen.wait is before.wait else waiting,
        )


def _near(before: float | None, now: float | None, within: float) -> float | None:
    return before if before is not None and now is not None and abs(before - now) <= within else now
