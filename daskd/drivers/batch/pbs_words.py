"""What PBS and Torque say of jobs, and daskd's words for the same. Tables alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

_STATES = {
    "Q": State.QUEUED,
    "W": State.QUEUED,
    "T": State.QUEUED,
    "H": State.QUEUED,
    "R": State.RUNNING,
    "S": State.PAUSED,
    "U": State.PAUSED,
    "E": State.ENDING,
    "F": State.ENDED,
    "X": State.ENDED,
    "C": State.ENDED,
}
_WAITS = {"H": Wait.HELD, "W": Wait.LATER}

_REASONS: tuple[tuple[re.Pattern[str], Wait], ...] = (
    (re.compile(r"can never run|no such|never be (run|satisfied)"), Wait.HOPELESS),
    (re.compile(r"limit"), Wait.LIMIT),
    (re.compile(r"held"), Wait.HELD),
    (re.compile(r"depend|reservation|dedicated|prime|execution time"), Wait.LATER),
    (re.compile(r"resource|node|not enough|insufficient|queue not started|no available|placement"), Wait.RESOURCES),
)

_TOLD = {
    Wait.RESOURCES: "waits for free nodes",
    Wait.PRIORITY: "waits for its turn in the queue",
    Wait.LIMIT: "waits for others to end, for a limit is reached",
    Wait.HELD: "is held, and waits to be released",
    Wait.LATER: "waits for its time, or for what it depends on",
    Wait.HOPELESS: "can never run as it was asked for",
}

PBS_CODES = {-29: Cause.TIME_LIMIT, -27: Cause.OUT_OF_MEMORY, -26: Cause.OUT_OF_MEMORY, -28: Cause.TIME_LIMIT}
TORQUE_CODES = {-11: Cause.TIME_LIMIT, -12: Cause.TIME_LIMIT, -10: Cause.OUT_OF_MEMORY}
"""Exit status of what was ended for its limits; other negative ones are of what could not be started."""

_KILLED = range(-29, -23)
"""PBS ended these for using more than they had asked for."""

LASTING = (
    "unknown queue",
    "unknown resource",
    "illegal attribute",
    "illegal -",
    "invalid account",
    "unauthorized request",
    "job violates queue and/or server resource limits",
    "job rejected by all possible destinations",
    "access to queue is denied",
    "access from host not allowed",
    "cannot be satisfied",
    "usage: qsub",
)
"""What qsub says, in lower case, of requests that it will decline again."""

PASSING = (
    "would exceed",
    "maximum number of jobs",
    "queue is not enabled",
    "queue not enabled",
    "limit on number of jobs",
)
"""And of those that it may take later."""


def state_of(letter: str) -> tuple[State, Wait | None]:
    """What a letter means. One that is not known, and M, of what was moved to another server, is `UNKNOWN`."""
    state = _STATES.get(letter, State.UNKNOWN)
    return state, _WAITS.get(letter, Wait.PRIORITY) if state is State.QUEUED else None


def wait_of(comment: str, otherwise: Wait) -> Wait:
    """What a job waits for by the scheduler's comment."""
    return next((wait for pattern, wait in _REASONS if pattern.search(comment.lower())), otherwise)


def told(wait: Wait, comment: str) -> str:
    """What a job waits for in words, the scheduler's own included."""
    return f"{_TOLD[wait]} (its system says: {comment})" if comment else _TOLD[wait]


def end_of(status: int | None, comment: str, codes: Mapping[int, Cause]) -> End:
    """How a job ended by its exit status.

    Parameters
    ----------
    status
        256 and more, or 128 and more: a signal. None: it never ran.
    codes
        Of the negative ones.
    """
    said = f" (its system says: {comment})" if comment else ""
    if status is None:
        return End(Cause.CANCELLED, words=f"was deleted before it ran{said}")
    if status in codes:
        return End(codes[status], words=f"was ended for a limit, with status {status}{said}")
    if status < 0:
        killed = codes is PBS_CODES and status in _KILLED
        words = "was ended for using more than it had asked for" if killed else "could not be started"
        return End(Cause.CANCELLED if killed else Cause.FAILED_TO_START, words=f"{words}, with status {status}{said}")
    number = status - 256 if status >= 256 else status - 128
    if number > 0:
        return End(Cause.SIGNAL, signal=number, words=f"was killed by signal {number}")
    return End(Cause.EXITED, code=status, words=f"exited with code {status}")
