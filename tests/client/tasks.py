"""What the tests' clusters compute. Importable there because a cluster is given this process's import path."""

from __future__ import annotations

import time
from pathlib import Path


def increment(value: int) -> int:
    """The next number."""
    return value + 1


def behind(gate: str, value: int) -> int:
    """`value`, once the file `gate` is there; a line in the file beside it tells that it began."""
    with Path(f"{gate}.begun").open("a") as begun:
        begun.write(f"{value}\n")
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.01)
    return value


def fail(value: int) -> int:
    """Raise."""
    raise RuntimeError(f"failed on purpose: {value}")
