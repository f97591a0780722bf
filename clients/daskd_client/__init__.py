"""Clients of daskd: `RemoteCluster` for Dask's users, `AsyncDaskd` for programs that manage clusters."""

from __future__ import annotations

from .api import AsyncDaskd
from .errors import (
    ClusterExists,
    ClusterFailed,
    ClusterNotFound,
    ClusterNotRunning,
    DaemonUnavailable,
    DaskdError,
    DeadlineExceeded,
    GroupNotFound,
    HeldWorkUnsupported,
    InvalidAddress,
    InvalidArgument,
    InvalidSpec,
    LimitExceeded,
    NotAllowed,
    Problem,
    ResumeTokenExpired,
    SchedulerUnreachable,
    Unauthenticated,
    UntrustedDaemon,
    WorkerNotFound,
)

__all__ = [
    "AsyncDaskd",
    "ClusterExists",
    "ClusterFailed",
    "ClusterNotFound",
    "ClusterNotRunning",
    "DaemonUnavailable",
    "DaskdError",
    "DeadlineExceeded",
    "GroupNotFound",
    "HeldWorkUnsupported",
    "InvalidAddress",
    "InvalidArgument",
    "InvalidSpec",
    "LimitExceeded",
    "NotAllowed",
    "Problem",
    "ResumeTokenExpired",
    "SchedulerUnreachable",
    "Unauthenticated",
    "UntrustedDaemon",
    "WorkerNotFound",
]
