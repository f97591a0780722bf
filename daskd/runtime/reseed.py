"""Gives every forked process random numbers of its own; imported where workers are forked from.

Python's `random` does so by itself; numpy's global state would be the same in all workers.
"""

from __future__ import annotations

import os
import sys


def _seed_numpy() -> None:
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


os.register_at_fork(after_in_child=_seed_numpy)
