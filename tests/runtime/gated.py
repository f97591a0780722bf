"""Functions for tasks whose end a test decides: they wait for a file."""

from __future__ import annotations

import time
from pathlib import Path


def behind(gate: str, value: int) -> int:
    """Return ``value`` once the file ``gate`` is there."""
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.01)
    return value


def fail(value: int) -> int:
    """Raise."""
    raise RuntimeError(f"failed on purpose: {value}")


class Counter:
    """An actor."""

    n = 0

    def increment(self) -> int:
        """Count."""
        self.n += 1
        return self.n
