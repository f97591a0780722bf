"""Clients of daskd: `RemoteCluster` for Dask's users, `AsyncDaskd` for programs that manage clusters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import defaults
from .api import AsyncDaskd
from .errors import (
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
from .explanation import Explanation
from .unplaceable import UnplaceableWork
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
    "ClusterExpiring",
    "ClusterFailed",
    "ClusterNotFound",
    "ClusterNotRunning",
    "DaemonUnavailable",
    "DaskdError",
    "DeadlineExceeded",
    "Explanation",
    "GroupExists",
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
    "SpecImmutable",
    "TokenNotFound",
    "Unauthenticated",
    "Unimplemented",
    "UnplaceableWork",
    "UntrustedDaemon",
    "VersionMismatch",
    "WorkerNotFound",
    "WorkersFailing",
    "list_clusters",
]
