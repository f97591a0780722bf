"""Clients of daskd: `RemoteCluster` for Dask's users, `AsyncDaskd` for programs that manage clusters."""

from __future__ import annotations

from . import defaults
from .api import AsyncDaskd
from .cluster import RemoteCluster
from .discovery import list_clusters
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
from .rebinding import RebindingClient

defaults.install()

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
    "RebindingClient",
    "RemoteCluster",
    "ResumeTokenExpired",
    "SchedulerUnreachable",
    "Unauthenticated",
    "UntrustedDaemon",
    "WorkerNotFound",
    "list_clusters",
]
