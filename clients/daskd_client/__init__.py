"""Clients of daskd: `RemoteCluster` for Dask's users, `AsyncDaskd` for programs that manage clusters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import defaults
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
    IncompatibleVersions,
    InvalidAddress,
    InvalidArgument,
    InvalidSpec,
    LimitExceeded,
    NotAllowed,
    Problem,
    ResumeTokenExpired,
    SchedulerUnreachable,
    TokenNotFound,
    Unauthenticated,
    Unimplemented,
    UntrustedDaemon,
    WorkerNotFound,
)
from .versions import VersionMismatch

if TYPE_CHECKING:
    from .cluster import RemoteCluster
    from .discovery import list_clusters
    from .rebinding import RebindingClient

defaults.install()

# These need distributed, whose import takes half a second that a command line has no use for.
_LATER = {"RemoteCluster": "cluster", "RebindingClient": "rebinding", "list_clusters": "discovery"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)


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
    "IncompatibleVersions",
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
    "TokenNotFound",
    "Unauthenticated",
    "Unimplemented",
    "UntrustedDaemon",
    "VersionMismatch",
    "WorkerNotFound",
    "list_clusters",
]
