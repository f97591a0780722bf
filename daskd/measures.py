"""What the daemon counts and times of itself; process-wide, as its log is. `web/metrics.py` shows it to Prometheus.

To be used from the event loop's thread alone.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds; what is longer is in none."""


@dataclass(slots=True)
class Durations:
    """How long something took, in seconds: `counts[i]` of them at most `BUCKETS[i]` and longer than the one before."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Measures:
    """Counts and durations, by what they are of and its labels. Labels are few and ours: no user's words."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.durations: dict[tuple[str, tuple[str, ...]], Durations] = {}

    def count(self, name: str, *labels: str) -> None:
        """One more."""
        self.counts[name, labels] += 1

    @contextmanager
    def timed(self, name: str, *labels: str) -> Iterator[None]:
        """Time what is done within, whether it fails or not."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.durations.setdefault((name, labels), Durations()).add(time.monotonic() - begun)


MEASURES = Measures()
