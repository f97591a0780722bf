"""Slurm's words for what jobs do and wait for, and daskd's for the same. Tables alone."""

from __future__ import annotations

import re

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, State

_LIVING = {
    "PENDING": State.QUEUED,
    "REQUEUED": State.QUEUED,
    "REQUEUE_FED": State.QUEUED,
    "REQUEUE_HOLD": State.QUEUED,
    "RESV_DEL_HOLD": State.QUEUED,
    "SPECIAL_EXIT": State.QUEUED,
    "CONFIGURING": State.STARTING,
    "RUNNING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SUSPENDED": State.PAUSED,
    "STOPPED": State.PAUSED,
    "COMPLETING": State.ENDING,
    "SIGNALING": State.ENDING,
    "STAGE_OUT": State.ENDING,
}
_ENDED = {
    "COMPLETED": Cause.EXITED,
    "FAILED": Cause.EXITED,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
    "TIMEOUT": Cause.TIME_LIMIT,
    "DEADLINE": Cause.TIME_LIMIT,
    "PREEMPTED": Cause.PREEMPTED,
    "CANCELLED": Cause.CANCELLED,
    "REVOKED": Cause.CANCELLED,
    "NODE_FAIL": Cause.NODE_LOST,
    "BOOT_FAIL": Cause.FAILED_TO_START,
}

SIGNAL_OF_FAILED_LAUNCH = 53
"""So ends what Slurm could not start, as for want of its folder. The reason is no help: it says JobLaunchFailure of
whatever ends by a signal."""

WAITS: dict[str, Wait] = {
    "None": Wait.PRIORITY,
    "Resources": Wait.RESOURCES,
    "Priority": Wait.PRIORITY,
    "NodeDown": Wait.RESOURCES,
    "Licenses": Wait.RESOURCES,
    "ReqNodeNotAvail": Wait.RESOURCES,
    "Nodes": Wait.RESOURCES,
    "FrontEndDown": Wait.RESOURCES,
    "JobHeldUser": Wait.HELD,
    "JobHeldAdmin": Wait.HELD,
    "JobHoldMaxRequeue": Wait.HELD,
    "SchedDefer": Wait.PRIORITY,
    "launch": Wait.HELD,
    "job": Wait.HELD,
    "Dependency": Wait.LATER,
    "BeginTime": Wait.LATER,
    "Reservation": Wait.LATER,
    "PartitionDown": Wait.LATER,
    "PartitionInactive": Wait.LATER,
    "SystemFailure": Wait.LATER,
    "JobArrayTaskLimit": Wait.LIMIT,
    "Prolog": Wait.PREPARING,
    "Cleaning": Wait.PREPARING,
    "BurstBufferResources": Wait.PREPARING,
    "BurstBufferStageIn": Wait.PREPARING,
    "DependencyNeverSatisfied": Wait.HOPELESS,
    "BadConstraints": Wait.HOPELESS,
    "PartitionConfig": Wait.HOPELESS,
    "PartitionNodeLimit": Wait.HOPELESS,
    "PartitionTimeLimit": Wait.HOPELESS,
    "AccountNotAllowed": Wait.HOPELESS,
    "QOSNotAllowed": Wait.HOPELESS,
    "InvalidAccount": Wait.HOPELESS,
    "InvalidQOS": Wait.HOPELESS,
    "ReservationDeleted": Wait.HOPELESS,
    "BurstBufferOperation": Wait.HOPELESS,
}
"""By the first word of a reason."""

_FAMILIES: tuple[tuple[re.Pattern[str], Wait], ...] = (
    # a bound on one job is never met by waiting; one on all of a user's jobs is
    (re.compile(r"(Assoc|QOS|Max).*Per(Job|Node)(Limit)?"), Wait.HOPELESS),
    (re.compile(r"(Assoc|QOS)Min.*"), Wait.HOPELESS),
    (re.compile(r"(QOS|Assoc)\w*Threshold"), Wait.LATER),
    (re.compile(r"(Assoc|QOS|Max|Grp)\w*"), Wait.LIMIT),
    (re.compile(r"\w*Limit"), Wait.LIMIT),
    (re.compile(r"BurstBuffer\w*"), Wait.PREPARING),
)

_TOLD = {
    Wait.RESOURCES: "waits for free nodes",
    Wait.PRIORITY: "waits for its turn in the queue",
    Wait.LIMIT: "waits for others of yours to end, for a limit is reached",
    Wait.HELD: "is held, and waits to be released",
    Wait.LATER: "waits for its time, or for what it depends on",
    Wait.PREPARING: "waits for its nodes to be prepared",
    Wait.HOPELESS: "can never run as it was asked for",
    None: "waits in the queue",
}

LASTING = (
    "invalid partition",
    "invalid account",
    "invalid qos",
    "invalid feature",
    "invalid generic resource",
    "invalid gres",
    "invalid job array",
    "invalid node name",
    "invalid wckey",
    "invalid reservation",
    "reservation is invalid",
    "access denied to requested reservation",
    "node configuration is not available",
    "node count specification invalid",
    "more processors requested than permitted",
    "memory specification can not be satisfied",
    "time limit is invalid",
    "missing time limit",
    "invalid license",
    "user's group not permitted",
    "requested operation not permitted on partition",
    "invalid --",
    "unrecognized option",
    "unknown option",
    "pathname of a file, directory or other parameter too long",
    "batch script contains dos line breaks",
    "this does not look like a batch script",
    "invalid directive found",
    "required account",
    "invalid trackable resource",
)
"""What sbatch says, in lower case, of requests that it will decline again."""

PASSING = (
    "job violates accounting/qos policy",
    "submit job limit",
    "job submit limit",
    "slurm temporarily unable to accept job",
    "resource temporarily unavailable",
    "partition is down",
    "partition is inactive",
    "partition-nodes requested down",
    "required partition not available",
)
"""And of those that it may take later."""


def state_of(word: str) -> tuple[State, Cause]:
    """What a state means; the cause is that of an end. A word that is not known is `UNKNOWN`."""
    if word in _LIVING:
        return _LIVING[word], Cause.EXITED
    if word not in _ENDED:
        return State.UNKNOWN, Cause.EXITED
    return State.ENDED, _ENDED[word]


def meaning_of_reason(reason: str) -> tuple[Wait | None, str]:
    """What a job waits for, and that in words, Slurm's own included."""
    first = re.match(r"\w*", reason)
    word = first[0] if first else ""
    wait = WAITS.get(word)
    if wait is None:
        wait = next((kind for pattern, kind in _FAMILIES if pattern.fullmatch(word)), None)
    return wait, f"{_TOLD[wait]} (Slurm says: {reason})" if reason not in ("", "None") else _TOLD[wait]
