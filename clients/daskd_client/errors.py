"""What can go wrong, as exceptions that carry the facts; and the one place that makes them from a gRPC error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "daskd"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field of a spec: the field as in ``groups[0].memory_limit``, and words with the mend."""

    field: str
    words: str


class DaskdError(Exception):
    """The base of all errors of this package.

    Attributes
    ----------
    reason : str
        A stable UPPER_SNAKE word for programs.
    facts : dict of str to str
        The facts of the message, by name.
    problems : tuple of Problem
        The fields at fault; empty where no field is.
    """

    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        facts: Mapping[str, str] | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        if reason:
            self.reason = reason
        self.facts = dict(facts or {})
        self.problems = problems


class InvalidSpec(DaskdError, ValueError):
    """The spec of a cluster is wrong; ``problems`` says where, and how to mend it."""

    reason = "INVALID_SPEC"


class InvalidArgument(DaskdError, ValueError):
    """An argument is wrong."""

    reason = "INVALID_ARGUMENT"


class ClusterNotFound(DaskdError, LookupError):
    """No such cluster, or none that you may see."""

    reason = "CLUSTER_NOT_FOUND"


class ClusterExists(DaskdError):
    """You have a live cluster of that name already."""

    reason = "CLUSTER_EXISTS"


class GroupNotFound(DaskdError, LookupError):
    """The cluster has no such worker group."""

    reason = "GROUP_NOT_FOUND"


class GroupExists(DaskdError):
    """The cluster has another worker group of that name already."""

    reason = "GROUP_EXISTS"


class SpecImmutable(DaskdError):
    """What shall be different can only be chosen at creation; ``problems`` says which fields."""

    reason = "SPEC_IMMUTABLE"


class TokenNotFound(DaskdError, LookupError):
    """There is no such token of yours."""

    reason = "TOKEN_NOT_FOUND"


class WorkerNotFound(DaskdError, LookupError):
    """The cluster has no such worker."""

    reason = "WORKER_NOT_FOUND"


class ClusterNotRunning(DaskdError):
    """The cluster has no scheduler yet, or is ending, or has ended."""

    reason = "CLUSTER_NOT_RUNNING"


class ClusterFailed(DaskdError):
    """The cluster could not be started or kept up.

    Attributes
    ----------
    log_tail : tuple of str
        The last lines that its scheduler and workers wrote, as far as they are known.
    """

    reason = "CLUSTER_FAILED"

    def __init__(self, message: str, *, log_tail: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.log_tail = log_tail

    def __str__(self) -> str:
        if not self.log_tail:
            return self.message
        return "\n  ".join((f"{self.message}\nThe last lines of its log:", *self.log_tail))


class WorkersFailing(DaskdError):
    """Workers that were waited for fail to start again and again; the daemon goes on trying."""

    reason = "WORKERS_FAILING"


class SchedulerUnreachable(DaskdError):
    """The cluster's scheduler does not answer."""

    reason = "SCHEDULER_UNREACHABLE"


class HeldWorkUnsupported(DaskdError):
    """The scheduler does not keep lost clients' work: it is not one that daskd started."""

    reason = "HELD_WORK_UNSUPPORTED"


class LimitExceeded(DaskdError):
    """More than the profile or the daemon's configuration allows."""

    reason = "LIMIT_EXCEEDED"


class NotAllowed(DaskdError, PermissionError):
    """You may not do this."""

    reason = "NOT_ALLOWED"


class Unauthenticated(DaskdError, PermissionError):
    """The daemon can't tell who you are."""

    reason = "UNAUTHENTICATED"


class UntrustedDaemon(DaskdError, PermissionError):
    """What answers at the address belongs to another user: nothing was sent to it."""

    reason = "UNTRUSTED_DAEMON"


class ResumeTokenExpired(DaskdError):
    """The changes after that token are not kept any more; watch anew without one."""

    reason = "RESUME_TOKEN_EXPIRED"


class DaemonUnavailable(DaskdError, ConnectionError):
    """The daemon can't be reached; the message says where it was looked for and how to start it."""

    reason = "DAEMON_UNAVAILABLE"


class DeadlineExceeded(DaskdError, asyncio.TimeoutError):
    """The daemon, or the cluster, took longer than was allowed. A `distributed.TimeoutError` too."""

    reason = "DEADLINE_EXCEEDED"


class IncompatibleVersions(DaskdError):
    """This process's `distributed` and the cluster's can't speak to each other; the message says how to mend it."""

    reason = "INCOMPATIBLE_VERSIONS"


class Unimplemented(DaskdError):
    """What answers does not know the call: an older daskd, or none."""

    reason = "UNIMPLEMENTED"


class InvalidAddress(DaskdError, ValueError):
    """The daemon's address is not one."""

    reason = "INVALID_ADDRESS"


class ClusterExpiring(UserWarning):
    """A cluster's lifetime is nearly over: it ends then, whatever it computes."""


_BY_REASON: Mapping[str, type[DaskdError]] = {
    cls.reason: cls
    for cls in (
        InvalidSpec,
        InvalidArgument,
        ClusterNotFound,
        ClusterExists,
        GroupNotFound,
        GroupExists,
        SpecImmutable,
        TokenNotFound,
        WorkerNotFound,
        ClusterNotRunning,
        SchedulerUnreachable,
        LimitExceeded,
        NotAllowed,
        Unauthenticated,
        ResumeTokenExpired,
    )
}

_BY_STATUS: Mapping[Any, type[DaskdError]] = {
    # For an answer without a reason: from gRPC itself, or from something that is not daskd.
    grpc.StatusCode.UNAVAILABLE: DaemonUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
}


_DETAILS_KEY = "grpc-status-details-bin"


def from_rpc(error: grpc.RpcError, address: str) -> DaskdError:
    """The exception for a failed call to the daemon at `address`; raise it `from` the gRPC error, which it explains."""
    code, words = error.code(), error.details() or ""
    info, problems = _details(error)
    if info is not None:
        # a daemon that is being stopped is one to be waited for, like one that is away
        cls = _BY_REASON.get(info.reason) or _BY_STATUS.get(code, DaskdError)
        return cls(words, reason=info.reason, facts=dict(info.metadata), problems=problems)
    cls = _BY_STATUS.get(code, DaskdError)
    if cls is DaemonUnavailable:
        return unavailable(address, words)
    if cls is DeadlineExceeded:
        return cls(f"The daemon at {address} did not answer in time.", facts={"address": address})
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unimplemented(
            f"What answers at {address} does not know this call: it is an older daskd, or none.",
            facts={"address": address},
        )
    return cls(words or f"The daemon at {address} answered {code.name} without a word.", reason=None)


def unavailable(address: str, words: str) -> DaemonUnavailable:
    """That nobody answers at `address`, with how to mend it."""
    mend = "start it with `daskd serve`, or say where it is by DASKD_ADDRESS"
    return DaemonUnavailable(
        f"No daskd answers at {address}: {mend}. ({words})", facts={"address": address, "cause": words}
    )


def _details(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo | None, tuple[Problem, ...]]:
    """What the answer says in machine-readable form: the reason with its facts, and the fields at fault."""
    raw = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), None)
    if raw is None:
        return None, ()
    status = status_pb2.Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return None, ()
    found: error_details_pb2.ErrorInfo | None = None
    problems: list[Problem] = []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == DOMAIN:
            found = info
        elif detail.Unpack(bad):
            problems.extend(Problem(v.field, v.description) for v in bad.field_violations)
    return found, tuple(problems)
