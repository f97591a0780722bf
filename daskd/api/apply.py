"""ApplyCluster: what a spec says, made so, whether or not there is a cluster yet."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from daskd.control.apply import applied
from daskd.control.desired import Step
from daskd.model.access import Right
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterExists, Problem
from daskd.model.spec import ClusterSpec
from daskd.security.authorize import Caller, check_right, resolve
from daskd_api.v1 import cluster_pb2 as pb

from .changing import StepFrom, change, would_be
from .create import bounds_of, invalid
from .recording import checked_spec, record_cluster
from .services import Services

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Applied:
    """The cluster, and what was or would be changed, in words."""

    cluster: Cluster
    changes: tuple[str, ...] = ()


async def apply_cluster(services: Services, caller: Caller, request: pb.ApplyClusterRequest) -> Applied:
    """Make the caller's live cluster of that name be as the spec says, or make one.

    Raises
    ------
    InvalidSpec
        With all that is wrong with name and spec.
    SpecImmutable
        When there is one that differs in what can only be chosen at creation.
    NotAllowed
        When the caller may not do that.
    ClusterNotRunning
        When the cluster of that name is ending.
    GroupExists
        When a group of the spec is just being removed.
    LimitExceeded
        When there would be too many clusters or workers.
    """
    if not request.name:
        raise invalid([Problem("name", "say what the cluster is called: that is how it is found again")])
    for _ in range(_TRIES):
        present = await services.store.find(caller.name, request.name)
        if present is not None:
            return await _change(services, caller, present, request)
        try:
            return await _create(services, caller, request)
        except ClusterExists:  # made between the two looks
            continue
    raise ClusterExists(f"your cluster {request.name!r} comes and goes: apply again", facts={"name": request.name})


async def _create(services: Services, caller: Caller, request: pb.ApplyClusterRequest) -> Applied:
    creation = pb.CreateClusterRequest(name=request.name, spec=request.spec, validate_only=request.validate_only)
    cluster = await record_cluster(services, caller, creation)
    groups = [f"{group.desired} workers in group {group.name!r}" for group in cluster.groups]
    return Applied(cluster, (f"cluster {cluster.name!r}: created, {', '.join(groups)}",))


async def _change(services: Services, caller: Caller, present: Cluster, request: pb.ApplyClusterRequest) -> Applied:
    # by the uid, and once more: a token may not be good for this cluster
    cluster = await resolve(services.store, caller, present.uid, Right.MANAGE)
    check_right(caller, cluster, Right.USE)
    spec = checked_spec(services, caller, request)
    step = _step(services, caller, cluster, spec)
    if request.validate_only:
        taken = await would_be(services, cluster, step)
    else:
        taken = await change(services, caller, cluster.uid, step)
        log.info("cluster applied", cluster=cluster.name, cluster_uid=cluster.uid, changes=len(taken.events))
    return Applied(taken.cluster, tuple(event.message for event in taken.events))


def _step(services: Services, caller: Caller, cluster: Cluster, spec: ClusterSpec) -> StepFrom:
    bounds = bounds_of(services.config, cluster.spec.profile)
    since, actor = services.clock(), caller.name

    def step(now: Cluster) -> Step:
        return applied(now, spec, actor=actor, bounds=bounds, now=since)

    return step
