"""Named points at which a test has the daemon die.

Where an act has several steps that must survive the daemon's death between them, each step ends with `reached(NAME)`.
With `DASKD_TEST_MODE=1` and `DASKD_CRASH_POINT=NAME` (or `NAME:3`, the third time) the process kills itself there,
as kill -9 would. Outside test mode the variable is refused.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from .model.errors import InvalidConfig

POINTS = (
    "create.recorded",
    "desired.recorded",
    "adapt.recorded",
    "launch.staged",
    "launch.intended",
    "launch.launched",
    "launch.recorded",
    "scheduler.claimed",
    "cancel.fenced",
    "retire.intended",
    "retire.asked",
    "terminate.intended",
    "terminate.asked",
    "end.recorded",
    "end.unstaged",
    "migration.step",
    "reload.read",
    "reload.applied",
)
"""Every point there is."""

_armed: dict[str, int] = {}


def arm(environ: Mapping[str, str]) -> None:
    """Read the environment, at start-up.

    Raises
    ------
    InvalidConfig
        When a point is named that does not exist, or outside test mode.
    """
    wanted = environ.get("DASKD_CRASH_POINT", "")
    if not wanted:
        return
    if environ.get("DASKD_TEST_MODE") != "1":
        raise InvalidConfig("DASKD_CRASH_POINT is set, and this is no test (DASKD_TEST_MODE=1): unset it")
    name, _, times = wanted.partition(":")
    if name not in POINTS or not (times or "1").isdigit():
        raise InvalidConfig(f"DASKD_CRASH_POINT={wanted}: there is no such point; there are {', '.join(POINTS)}")
    _armed[name] = int(times or 1)


def reached(name: str) -> None:
    """A step is done; die here, if a test says so."""
    if name in _armed:
        _armed[name] -= 1
        if _armed[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
