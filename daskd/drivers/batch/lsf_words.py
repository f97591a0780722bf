"""LSF's words for what jobs do, wait for and end by, and daskd's for the same. Tables alone."""

from __future__ import annotations

import re

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

from . import waits

_STATES = {
    "PEND": State.QUEUED,
    "WAIT": State.QUEUED,
    "PSUSP": State.QUEUED,
    "PROV": State.STARTING,
    "RUN": State.RUNNING,
    "USUSP": State.PAUSED,
    "SSUSP": State.PAUSED,
    # its end was asked for, and its host does not answer
    "ZOMBI": State.ENDING,
    "DONE": State.ENDED,
    "POST_DONE": State.ENDED,
    "EXIT": State.ENDED,
    "POST_ERR": State.ENDED,
}

REASONS: waits.Reasons = (
    (re.compile(r"never satisfied|invalid or never|no longer exists|does not exist"), Wait.HOPELESS),
    (re.compile(r"suspended by"), Wait.HELD),
    (re.compile(r"dependency|start time|window|advance reservation|pre-?emptable"), Wait.LATER),
    # a host's own limit: it is full
    (re.compile(r"job slot limit reached: \d+ host"), Wait.RESOURCES),
    (re.compile(r"limit|quota|threshold"), Wait.LIMIT),
    (re.compile(r"host|resource|slots|processors|closed|unavailable|load information|requirement"), Wait.RESOURCES),
)

TERMINATED = {
    "TERM_PREEMPT": Cause.PREEMPTED,
    "TERM_LOAD": Cause.PREEMPTED,
    "TERM_RC": Cause.PREEMPTED,
    "TERM_REQUEUE_RC": Cause.PREEMPTED,
    "TERM_MC_RECALL": Cause.PREEMPTED,
    "TERM_RUNLIMIT": Cause.TIME_LIMIT,
    "TERM_CPULIMIT": Cause.TIME_LIMIT,
    "TERM_DEADLINE": Cause.TIME_LIMIT,
    "TERM_WINDOW": Cause.TIME_LIMIT,
    "TERM_MEMLIMIT": Cause.OUT_OF_MEMORY,
    "TERM_SWAP": Cause.OUT_OF_MEMORY,
    "TERM_OWNER": Cause.CANCELLED,
    "TERM_ADMIN": Cause.CANCELLED,
    "TERM_FORCE_OWNER": Cause.CANCELLED,
    "TERM_FORCE_ADMIN": Cause.CANCELLED,
    "TERM_BUCKET_KILL": Cause.CANCELLED,
    "TERM_CHKPNT": Cause.CANCELLED,
    "TERM_ORPHAN_SYSTEM": Cause.CANCELLED,
    "TERM_REQUEUE_OWNER": Cause.CANCELLED,
    "TERM_REQUEUE_ADMIN": Cause.CANCELLED,
    "TERM_CWD_NOTEXIST": Cause.FAILED_TO_START,
    "TERM_PRE_EXEC_FAIL": Cause.FAILED_TO_START,
    "TERM_DATA": Cause.FAILED_TO_START,
    "TERM_CSM_ALLOC": Cause.FAILED_TO_START,
    "TERM_RMS": Cause.FAILED_TO_START,
    "TERM_ZOMBIE": Cause.NODE_LOST,
    "TERM_REMOVE_HUNG_JOB": Cause.NODE_LOST,
    "TERM_SLURM": Cause.NODE_LOST,
}
"""What LSF says it ended a job for; what is not here says nothing of the cause."""

_UNCERTAIN = frozenset({"TERM_FORCE_OWNER", "TERM_FORCE_ADMIN", "TERM_ZOMBIE", "TERM_REMOVE_HUNG_JOB", "TERM_SLURM"})
"""LSF forgot these while their host did not answer: their processes may run on."""

_DID = {
    Cause.PREEMPTED: "had to make room",
    Cause.TIME_LIMIT: "its time was over",
    Cause.OUT_OF_MEMORY: "used more memory than it may",
    Cause.CANCELLED: "was ended by a user or an administrator",
    Cause.FAILED_TO_START: "could not be started",
    Cause.NODE_LOST: "its host did not answer",
}

LASTING = (
    "no such queue",
    "bad queue",
    "cannot use the queue",
    "cannot use queue",
    "is not a member",
    "no such user",
    "too many processors requested",
    "too many tasks requested",
    "bad resource requirement",
    "bad resource",
    "bad argument",
    "illegal option",
    "bad run limit",
    "exceeds queue",
    "exceed queue",
    "greater than the",
    "no such project",
    "invalid project",
    "no such host",
    "unknown resource",
    "reservation",
    "permission denied",
)
"""What bsub says, in lower case, of requests that it will decline again; of all others it may take the same later."""


def state_of(word: str) -> tuple[State, Wait | None]:
    """What bjobs' word means. UNKWN, of a job whose host does not answer, and any other word are `UNKNOWN`."""
    state = _STATES.get(word, State.UNKNOWN)
    if state is not State.QUEUED:
        return state, None
    return state, Wait.HELD if word == "PSUSP" else Wait.PRIORITY


def end_of(word: str, code: int | None, reason: str) -> End:
    """How a job ended.

    Parameters
    ----------
    word
        bjobs' word for its state.
    code
        Its exit code: 128 and more are signals; None where LSF tells none.
    reason
        LSF's own, such as "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit".
    """
    if word in ("DONE", "POST_DONE"):
        return End(Cause.EXITED, code=0, words="exited with code 0")
    key = reason.partition(":")[0].strip()
    cause = TERMINATED.get(key)
    if cause is not None:
        return End(cause, words=f"{_DID[cause]}{waits.said('LSF', reason)}", certain=key not in _UNCERTAIN)
    if code is not None and code > 128:
        return End(Cause.SIGNAL, signal=code - 128, words=f"was killed by signal {code - 128}")
    told = "ended" if code is None else f"exited with code {code}"
    return End(Cause.EXITED, code=code, words=f"{told}{waits.said('LSF', reason)}")
