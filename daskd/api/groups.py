"""Worker groups of a cluster that runs: added, removed."""

from __future__ import annotations

import asyncio

import structlog

from daskd.control import desired
from daskd.model.access import Right
from daskd.model.cluster import Cluster
from daskd.model.spec import WorkerGroupSpec
from daskd.security.authorize import Caller, check_right, resolve
from daskd.security.peer import identity_of
from daskd_api.v1 import cluster_pb2 as pb

from .changing import change, would_be
from .create import bounds_of, build_group
from .services import Services
from .translate import sparse_group

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def add_group(services: Services, caller: Caller, request: pb.AddWorkerGroupRequest) -> Cluster:
    """The cluster with the group that a request asks for.

    Raises
    ------
    ClusterNotFound, NotAllowed
        When the caller may not do that.
    InvalidSpec
        With all that is wrong with the group.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupExists
        When there is another group of that name.
    LimitExceeded
        When it would be more workers than may be.
    """
    cluster = await resolve(services.store, caller, request.name, Right.MANAGE)
    # a group names programs, and they run as the owner
    check_right(caller, cluster, Right.USE)
    desired.check_lives(cluster)
    group = await _checked(services, cluster, request.group)
    bounds = bounds_of(services.config, cluster.spec.profile)
    since = services.clock()

    def step(now: Cluster) -> desired.Step:
        return desired.group_added(now, group, actor=caller.name, bounds=bounds, now=since)

    if request.validate_only:
        return (await would_be(services, cluster, step)).cluster
    changed = (await change(services, caller, cluster.uid, step)).cluster
    log.info("group added", cluster=cluster.name, cluster_uid=cluster.uid, group=group.name)
    return changed


async def _checked(services: Services, cluster: Cluster, message: pb.WorkerGroupSpec) -> WorkerGroupSpec:
    owner = await asyncio.to_thread(identity_of, cluster.owner_uid)
    return build_group(sparse_group(message), cluster.spec, services.config, services.control.drivers, owner)


async def remove_group(services: Services, caller: Caller, request: pb.RemoveWorkerGroupRequest) -> Cluster:
    """The cluster one of whose groups goes.

    Raises
    ------
    ClusterNotFound, NotAllowed
        When the caller may not do that.
    InvalidArgument
        When no group is named, or it is the last one.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    """
    cluster = await resolve(services.store, caller, request.name, Right.MANAGE)
    actor = caller.name
    changed = await change(
        services, caller, cluster.uid, lambda now: desired.group_removed(now, request.group, actor=actor)
    )
    log.info("group removed", cluster=cluster.name, cluster_uid=cluster.uid, group=request.group)
    return changed.cluster
