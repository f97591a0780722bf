"""The types of what can go wrong. Checked by mypy, never run."""

from __future__ import annotations

import asyncio

from typing_extensions import assert_type

from daskd_client import (
    ClusterExists,
    ClusterExpiring,
    ClusterFailed,
    ClusterNotFound,
    ClusterNotRunning,
    DaemonUnavailable,
    DaskdError,
    DeadlineExceeded,
    GroupExists,
    GroupNotFound,
    HeldWorkUnsupported,
    IncompatibleVersions,
    InvalidAddress,
    InvalidArgument,
    InvalidSpec,
    LimitExceeded,
    NotAllowed,
    Problem,
    RemoteCluster,
    ResumeTokenExpired,
    SchedulerUnreachable,
    SpecImmutable,
    TokenNotFound,
    Unauthenticated,
    Unimplemented,
    UnplaceableWork,
    UntrustedDaemon,
    VersionMismatch,
    WorkerNotFound,
    WorkersFailing,
)

EVERY: tuple[type[DaskdError], ...] = (
    ClusterExists,
    ClusterFailed,
    ClusterNotFound,
    ClusterNotRunning,
    DaemonUnavailable,
    DeadlineExceeded,
    GroupExists,
    GroupNotFound,
    HeldWorkUnsupported,
    IncompatibleVersions,
    InvalidAddress,
    InvalidArgument,
    InvalidSpec,
    LimitExceeded,
    NotAllowed,
    ResumeTokenExpired,
    SchedulerUnreachable,
    SpecImmutable,
    TokenNotFound,
    Unauthenticated,
    Unimplemented,
    UntrustedDaemon,
    WorkerNotFound,
    WorkersFailing,
)

WARNINGS: tuple[type[UserWarning], ...] = (ClusterExpiring, UnplaceableWork, VersionMismatch)

OF_PYTHON: tuple[
    tuple[type[ValueError], ...],
    tuple[type[LookupError], ...],
    tuple[type[PermissionError], ...],
    type[ConnectionError],
    type[asyncio.TimeoutError],
] = (
    (InvalidSpec, InvalidArgument, InvalidAddress),
    (ClusterNotFound, GroupNotFound, TokenNotFound, WorkerNotFound),
    (NotAllowed, Unauthenticated, UntrustedDaemon),
    DaemonUnavailable,
    DeadlineExceeded,
)


def what_they_tell() -> None:
    """Words for people; a reason, facts and fields for programs."""
    try:
        RemoteCluster("etl")
    except ClusterFailed as error:
        assert_type(error.log_tail, tuple[str, ...])
    except DaskdError as error:
        assert_type(error.message, str)
        assert_type(error.reason, str)
        assert_type(error.facts, dict[str, str])
        assert_type(error.problems, tuple[Problem, ...])
        assert_type(error.problems[0].field, str)
        assert_type(error.problems[0].words, str)
        print(error.log_tail)  # type: ignore[attr-defined]
