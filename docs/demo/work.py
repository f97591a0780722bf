"""The demo's work: tasks that take a while, and say that they ran."""

from __future__ import annotations

import os
import time


def square(x: int) -> int:
    """x squared, after half a second; notes its run in the file that DEMO_RUNS names."""
    with open(os.environ["DEMO_RUNS"], "a", encoding="ascii") as runs:
        runs.write(f"square {x}\n")
    time.sleep(0.5)
    return x * x


def cube(x: int) -> int:
    """x cubed, after a fifth of a second; notes its run likewise."""
    with open(os.environ["DEMO_RUNS"], "a", encoding="ascii") as runs:
        runs.write(f"cube {x}\n")
    time.sleep(0.2)
    return x**3
