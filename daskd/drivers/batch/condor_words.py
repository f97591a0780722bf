"""HTCondor's words for what jobs do, wait for and end by, and daskd's for the same. Tables alone."""

from __future__ import annotations

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING, SUSPENDED = range(1, 8)
"""JobStatus."""

STATES = {
    IDLE: State.QUEUED,
    RUNNING: State.RUNNING,
    REMOVED: State.ENDING,
    COMPLETED: State.ENDED,
    HELD: State.QUEUED,
    TRANSFERRING: State.ENDING,
    SUSPENDED: State.PAUSED,
}

WALLTIME_OVER = 46
"""HoldReasonSubCode of what daskd's own directive ends; HTCondor's code of the same, too."""

BY_POLICY = 3
"""HoldReasonCode of the job's own directives, which are daskd's."""

_WAITS = {1: Wait.HELD, 15: Wait.HELD, 16: Wait.PREPARING}
"""By HoldReasonCode: by its user, since its submission, while its files are brought along. Others say what failed."""

_ENDS = {
    1: Cause.CANCELLED,
    6: Cause.FAILED_TO_START,
    7: Cause.FAILED_TO_START,
    8: Cause.FAILED_TO_START,
    12: Cause.FAILED_TO_START,
    14: Cause.FAILED_TO_START,
    34: Cause.OUT_OF_MEMORY,
    46: Cause.TIME_LIMIT,
    47: Cause.TIME_LIMIT,
}
"""By HoldReasonCode of what had begun."""

FIRST_EVICTION = 1000
"""VacateReasonCodes from here on tell why a machine gave a job up; those below are HoldReasonCodes."""

NODE_SILENT = 1008
"""VacateReasonCode of a job whose machine was not reached again."""

_TOLD = {
    Wait.RESOURCES: "waits for a free machine that suits it",
    Wait.PRIORITY: "waits for its turn in the queue",
    Wait.LIMIT: "waits for others to end, for a limit is reached",
    Wait.HELD: "is held, and waits to be released",
    Wait.PREPARING: "waits for its files to be brought along",
    Wait.HOPELESS: "could not be started, and is held",
}

_REJECTED = (("limit", Wait.LIMIT), ("priority", Wait.PRIORITY), ("no match", Wait.RESOURCES))
"""By what the negotiator says of a job that it gave no machine."""

LASTING = (
    "failed to parse",
    "parse error",
    "i don't know about",
    "is not a valid",
    "is invalid",
    "invalid value",
    "no such directory",
    "can't open",
    "failed to commit job submission into the queue.\nerror:",
)
"""What condor_submit says, in lower case, of requests that it will decline again."""

PASSING = (
    "would exceed max_jobs",
    "can't find address of local schedd",
    "failed to connect to local queue manager",
    "failed to connect to queue manager",
    "failed to create proc",
    "failed to create cluster",
    "cannot allocate a cluster id",
)
"""And of those that it may take later."""


def told(wait: Wait, reason: str = "") -> str:
    """What a job waits for in words, HTCondor's own included."""
    return f"{_TOLD[wait]} (HTCondor says: {reason})" if reason else _TOLD[wait]


def wait_of_idle(rejection: str) -> Wait:
    """What an idle job waits for, by the last time that it was given no machine."""
    said = rejection.lower()
    return next((wait for words, wait in _REJECTED if words in said), Wait.PRIORITY)


def wait_of_held(code: int) -> Wait:
    """What a job waits for that was held before it began."""
    return _WAITS.get(code, Wait.HOPELESS)


def end_by_hold(code: int, subcode: int, reason: str) -> End:
    """How a job ended that was held when it had begun: it is not started again.

    Parameters
    ----------
    code, subcode, reason
        HTCondor's: of the hold.
    """
    said = f"HTCondor held it: {reason}" if reason else f"HTCondor held it, with code {code}"
    if code == BY_POLICY and subcode == WALLTIME_OVER:
        return End(Cause.TIME_LIMIT, words=reason)
    # the rules of a site, which say why in words alone
    if code not in _ENDS and "memory" in reason.lower():
        return End(Cause.OUT_OF_MEMORY, words=said)
    return End(_ENDS.get(code, Cause.EXITED), words=said)


def end_by_eviction(code: int, reason: str) -> End:
    """How a job ended that its machine gave up.

    Parameters
    ----------
    code, reason
        HTCondor's, where it has any: 0 and nothing else.
    """
    if code == NODE_SILENT:
        words = f"its machine was lost (HTCondor says: {reason or code})"
        return End(Cause.NODE_LOST, words=words, certain=False)
    return End(Cause.PREEMPTED, words=f"its machine gave it up (HTCondor says: {reason or f'evicted, code {code}'})")
