"""SGE's words for what jobs do, wait for and end by, and daskd's for the same. Tables alone."""

from __future__ import annotations

import re

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

_LETTERS = frozenset("qwhtrRsSTPNdE")

_REASONS: tuple[tuple[re.Pattern[str], Wait], ...] = (
    (re.compile(r"hold state"), Wait.HELD),
    (re.compile(r"dependenc|execution time"), Wait.LATER),
    (re.compile(r"exceeds limit|limitation|quota|max_u_jobs|maxujobs|max_aj_instances"), Wait.LIMIT),
    (re.compile(r"only offers|overloaded|full|disabled|suspended|error|available|no suitable"), Wait.RESOURCES),
)

_TOLD = {
    Wait.RESOURCES: "waits for free slots",
    Wait.PRIORITY: "waits for its turn in the queue",
    Wait.LIMIT: "waits for others to end, for a limit is reached",
    Wait.HELD: "is held, and waits to be released",
    Wait.LATER: "waits for its time, or for what it depends on",
    Wait.HOPELESS: "could not be started, and stays in an error state",
}

_NOT_STARTED = frozenset({*range(1, 13), 21, 26, 27, 28, 29, 36, 38})
"""`failed` of what ended before the job itself began."""

LIMIT_REACHED = 37
GOES_ON = frozenset({24, 25, 30})
"""`failed` of what was migrated or rescheduled: the same job goes on."""

LASTING = (
    "unknown queue",
    "unknown resource",
    "no suitable queues",
    "requested project",
    "requested parallel environment",
    "advance reservation",
    "invalid option argument",
    "unknown option",
    "is not a valid",
    "invalid task id",
    "no access to project",
    "has no permission",
    "is not in any department",
)
"""What qsub says, in lower case, of requests that it will decline again."""

PASSING = (
    "job is rejected because",
    "only a maximum of",
    "per user job limit",
    "exceeds the limit",
    "not allowed to submit",
    "can't resolve",
    "sge_root",
    "no submit host",
)
"""And of those that it may take later."""


def state_of(letters: str) -> tuple[State, Wait | None]:
    """What qstat's letters mean together. Letters that are not known are `UNKNOWN`."""
    found = set(letters)
    if not found or found - _LETTERS:
        return State.UNKNOWN, None
    if "d" in found:
        return State.ENDING, None
    if "E" in found:
        return State.QUEUED, Wait.HOPELESS
    if found & set("qw"):
        return State.QUEUED, Wait.HELD if "h" in found else Wait.PRIORITY
    if found & set("sSTPN"):
        return State.PAUSED, None
    return (State.STARTING if "t" in found else State.RUNNING), None


def told(wait: Wait, reason: str = "") -> str:
    """What a job waits for in words, SGE's own included."""
    return f"{_TOLD[wait]} (SGE says: {reason})" if reason else _TOLD[wait]


def wait_of(reason: str) -> Wait:
    """What a job waits for by the scheduler's words, in which a job that waits for its turn is not named."""
    return next((wait for pattern, wait in _REASONS if pattern.search(reason.lower())), Wait.PRIORITY)


def end_of(failed: int, words: str, status: int) -> End:
    """How a job ended by its accounting.

    Parameters
    ----------
    failed
        SGE's code; `words` stand beside it.
    status
        A shell's exit status: 128 and more are signals.
    """
    said = f"SGE says: {words}" if words else f"SGE says: failed {failed}"
    if failed == LIMIT_REACHED:
        return End(Cause.TIME_LIMIT, words=f"its time, or another limit, was over ({said})")
    if failed in _NOT_STARTED:
        return End(Cause.FAILED_TO_START, words=f"could not be started ({said})")
    if status > 128:
        return End(Cause.SIGNAL, signal=status - 128, words=f"was killed by signal {status - 128}")
    return End(Cause.EXITED, code=status, words=f"exited with code {status}")
