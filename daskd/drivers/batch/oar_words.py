"""OAR's words for what jobs do, wait for and end by, and daskd's for the same. Tables alone."""

from __future__ import annotations

import re
from collections.abc import Collection

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State

from . import waits

_STATES = {
    "Waiting": State.QUEUED,
    "Hold": State.QUEUED,
    "toAckReservation": State.QUEUED,
    "toLaunch": State.STARTING,
    "Launching": State.STARTING,
    "Running": State.RUNNING,
    "Suspended": State.PAUSED,
    "Resuming": State.PAUSED,
    "Finishing": State.ENDING,
    "toError": State.ENDING,
    "Terminated": State.ENDED,
    "Error": State.ENDED,
}
_WAITS = {"Hold": Wait.HELD, "toAckReservation": Wait.LATER}

REASONS: waits.Reasons = (
    (re.compile(r"never run|does not exist|its own container|setting it to error"), Wait.HOPELESS),
    (re.compile(r"dependency|yet to schedule|reservation|start after|container"), Wait.LATER),
    (re.compile(r"limit|quota(?!_ok)|too many"), Wait.LIMIT),
    (re.compile(r"enough resources|no resource"), Wait.RESOURCES),
)

EVENTS = (
    (frozenset({"BESTEFFORT_KILL"}), Cause.PREEMPTED),
    (frozenset({"WALLTIME"}), Cause.TIME_LIMIT),
    (frozenset({"EXTERMINATE_JOB", "PING_CHECKER_NODE_SUSPECTED_END_JOB"}), Cause.NODE_LOST),
    (
        frozenset(
            {
                "BAD_HASHTABLE_DUMP",
                "CANNOT_CREATE_TMP_DIRECTORY",
                "CANNOT_WRITE_NODE_FILE",
                "CANNOT_WRITE_PID_FILE",
                "CPUSET_ERROR",
                "EXIT_VALUE_OAREXEC",
                "LAUNCHING_OAREXEC_TIMEOUT",
                "OUTPUT_FILES",
                "PING_CHECKER_NODE_SUSPECTED",
                "PROLOGUE_ERROR",
                "RESERVATION_NO_NODE",
                "SERVER_PROLOGUE_EXIT_CODE_ERROR",
                "SERVER_PROLOGUE_TIMEOUT",
                "SSH_TRANSFER_TIMEOUT",
                "USER_SHELL",
                "WORKING_DIRECTORY",
            }
        ),
        Cause.FAILED_TO_START,
    ),
    (frozenset({"FRAG_JOB_REQUEST"}), Cause.CANCELLED),
)
"""Of what is told of a job in state Error, the first that fits: a job that makes room was also asked to be deleted."""

_DID = {
    Cause.PREEMPTED: "had to make room",
    Cause.TIME_LIMIT: "its time was over",
    Cause.NODE_LOST: "its node did not answer",
    Cause.FAILED_TO_START: "could not be started",
    Cause.CANCELLED: "was deleted",
}

LASTING = (
    "does not exist",
    "cannot recognize",
    "[admission rule]",
    "unknown job type",
    "not enough resources for your request",
    "there are not enough resources",
    "bad syntax",
    "syntax error",
    "invalid stdout",
    "invalid stderr",
    "unallowed characters",
    "unknown option",
    "requires an argument",
)
"""What oarsub says, in lower case, of requests that it will decline again."""

PASSING = ("too many jobs", "quota", "more than")
"""And of those that it may take later."""


def state_of(word: str) -> tuple[State, Wait | None]:
    """What oarstat's word means; any that is not known is `UNKNOWN`."""
    state = _STATES.get(word, State.UNKNOWN)
    return state, _WAITS.get(word, Wait.PRIORITY) if state is State.QUEUED else None


def end_of(word: str, status: int | None, events: Collection[str], message: str, *, began: bool) -> End:
    """How a job ended.

    Parameters
    ----------
    word
        "Terminated", or "Error".
    status
        What wait() told of its command; None where that is not known.
    events
        What happened to it, in OAR's words.
    message
        OAR's own sentence.
    began
        It had been started.
    """
    said = waits.said("OAR", message)
    if word == "Error":
        for names, cause in EVENTS:
            told = sorted(names.intersection(events))
            if told:
                said = waits.said("OAR", f"{message}; {', '.join(told)}" if message else ", ".join(told))
                return End(cause, words=f"{_DID[cause]}{said}", certain=cause is not Cause.NODE_LOST)
        if not began:
            return End(Cause.FAILED_TO_START, words=f"could not be started{said}")
    if status is None:
        return End(Cause.EXITED, words=f"ended{said}")
    code, number = status >> 8, status & 0x7F
    if number:
        return End(Cause.SIGNAL, signal=number, words=f"was killed by signal {number}")
    return End(Cause.EXITED, code=code, words=f"exited with code {code}")
