"""Functions for tasks whose end a test decides: they wait for a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from distributed import Future, SchedulerPlugin, get_client


def behind(gate: str, value: int) -> int:
    """Return ``value`` once the file ``gate`` is there."""
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.01)
    return value


def counted(folder: str, name: str, value: Any, gate: str = "") -> Any:
    """Count a run under a name; return the value, once the gate is there."""
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b".")
    os.close(descriptor)
    deadline = time.monotonic() + 120
    while gate and not os.path.exists(gate):
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.01)
    return value


def fail(value: int) -> int:
    """Raise."""
    raise RuntimeError(f"failed on purpose: {value}")


def inc(x: int) -> int:
    """Return one more."""
    return x + 1


def increment_inside(x: int) -> int:
    """Return one more, by way of a client inside this task that wants the result on and on."""
    client = get_client()
    KEPT.append(client.submit(inc, x))
    return KEPT[-1].result()


KEPT: list[Future] = []


class Counter:
    """An actor."""

    n = 0

    def increment(self) -> int:
        """Count."""
        self.n += 1
        return self.n


class Deadly(SchedulerPlugin):
    """Kills the scheduler soon after a graph with a key that begins with "deadly" has come."""

    def update_graph(self, scheduler: Any, *, tasks: Any, **kwargs: Any) -> None:
        """Look at the keys."""
        if any(str(key).startswith("deadly") for key in tasks):
            scheduler.loop.call_later(0.3, os.kill, os.getpid(), 9)
