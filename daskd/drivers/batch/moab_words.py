"""Moab's words for what jobs do, wait for and end by, and daskd's for the same. Tables alone."""

from __future__ import annotations

import re

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

from . import pbs_words, waits

_QUEUED = {
    "Idle": Wait.PRIORITY,
    "Blocked": Wait.PRIORITY,
    "Hold": Wait.HELD,
    "UserHold": Wait.HELD,
    "SystemHold": Wait.HELD,
    "BatchHold": Wait.HELD,
    "Deferred": Wait.LATER,
    "Staging": Wait.PREPARING,
    "Staged": Wait.PREPARING,
}
_STATES = {
    "Starting": State.STARTING,
    "Running": State.RUNNING,
    "Suspended": State.PAUSED,
    "Canceling": State.ENDING,
    "Completed": State.ENDED,
    "Removed": State.ENDED,
    "Vacated": State.ENDED,
}
"""Others, as Unknown, NotQueued and Migrated, tell that Moab does not know, or no longer."""

REASONS: waits.Reasons = (
    (re.compile(r"never (run|be satisfied)|does not exist|infeasible"), Wait.HOPELESS),
    (re.compile(r"hold"), Wait.HELD),
    (re.compile(r"depend|reservation|start ?date|start time|advres"), Wait.LATER),
    (re.compile(r"violates|limit|policy|quota"), Wait.LIMIT),
    (re.compile(r"resource|procs|nodes|insufficient|unavailable"), Wait.RESOURCES),
)

_CANCELLED = re.compile(r"CNCLD(?:\((-?\d{1,9})\))?", re.ASCII)
_CODE = re.compile(r"-?\d{1,9}", re.ASCII)

LASTING = (
    *pbs_words.LASTING,
    "invalid class",
    "unknown class",
    "invalid qos",
    "invalid reservation",
    "invalid credential",
    "not authorized",
    "cannot locate",
)
"""What msub says, in lower case, of requests that it will decline again."""

PASSING = (*pbs_words.PASSING, "job limit", "maximum job count")
"""And of those that it may take later."""


def state_of(word: str) -> tuple[State, Wait | None]:
    """What showq's word means; any that is not known is `UNKNOWN`."""
    if word in _QUEUED:
        return State.QUEUED, _QUEUED[word]
    return _STATES.get(word, State.UNKNOWN), None


def end_of(word: str, code: str, *, over_time: bool) -> End:
    """How a job ended.

    Parameters
    ----------
    word
        "Completed", "Removed" or "Vacated".
    code
        Its exit status, as Torque tells it, or "CNCLD" with or without one.
    over_time
        It ran for as long as it had asked for.
    """
    said = waits.said("Moab", " ".join(part for part in (word, code) if part))
    if word == "Vacated":
        return End(Cause.NODE_LOST, words=f"its system failed{said}", certain=False)
    if _CANCELLED.fullmatch(code) or word == "Removed":
        if over_time:
            return End(Cause.TIME_LIMIT, words=f"its time was over{said}")
        return End(Cause.CANCELLED, words=f"was cancelled by a user, an administrator or a policy{said}")
    if _CODE.fullmatch(code):
        return pbs_words.end_of(int(code), "", pbs_words.TORQUE_CODES)
    return End(Cause.EXITED, words=f"ended{said}")
