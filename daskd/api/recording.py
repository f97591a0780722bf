"""CreateCluster: every check, then one record."""

from __future__ import annotations

import re

import structlog

from daskd.crashpoints import reached
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterExists, InvalidArgument, InvalidSpec, LimitExceeded, Problem
from daskd.model.event import NewEvent
from daskd.model.names import new_cluster_name
from daskd.model.spec import ClusterSpec
from daskd.security.authorize import Caller, check_may_create
from daskd_api.v1 import cluster_pb2 as pb

from .create import bounds_of, build_spec, guarded, invalid, is_open, name_problems, new_cluster
from .embedded import check_embedded
from .history import from_caller
from .services import Services
from .translate import sparse_spec

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[\x20-\x7e]{0,64}", re.ASCII)
_MOST_NAMES_TRIED = 20


async def record_cluster(services: Services, caller: Caller, request: pb.CreateClusterRequest) -> Cluster:
    """The cluster that a request makes, or made before under the same request id.

    Raises
    ------
    NotAllowed
        When the daemon can't run anything for the caller.
    InvalidArgument
        When the request id is none, or was used for a cluster of another name.
    InvalidSpec
        With all that is wrong with name and spec.
    LimitExceeded
        When there would be too many clusters or workers.
    ClusterExists
        When the caller has a live cluster of that name.
    """
    check_may_create(caller)
    if not _REQUEST_ID.fullmatch(request.request_id):
        words = "a request id has at most 64 printable ASCII characters: make another, such as a UUID"
        raise InvalidArgument(words, facts={"field": "request_id"}, problems=[Problem("request_id", words)])
    spec = checked_spec(services, caller, request)
    await services.control.check_owner(caller.identity, {group.driver for group in spec.groups})
    if request.validate_only:
        return await _would_be(services, caller, request.name, spec)
    cluster, created = await services.to_its_end(_record(services, caller, request, spec))
    if created:
        log.info("cluster created", cluster=cluster.name, cluster_uid=cluster.uid)
    return cluster


def checked_spec(
    services: Services, caller: Caller, request: pb.CreateClusterRequest | pb.ApplyClusterRequest
) -> ClusterSpec:
    """The spec that a request means, complete.

    Raises
    ------
    InvalidSpec
        With all that is wrong with name and spec.
    LimitExceeded
        When it has more workers than the profile or the configuration allow.
    """
    problems = name_problems(request.name)
    asked = sparse_spec(request.spec)
    try:
        spec = build_spec(asked, services.config, services.control.drivers, caller.identity)
        if caller.identity.uid != services.daemon_uid and services.dashboards is None:
            spec = guarded(spec, asked, services.config)
        check_embedded(spec, services.config, is_own=caller.identity.uid == services.daemon_uid)
    except InvalidSpec as error:
        raise invalid([*problems, *error.problems]) from None
    if problems:
        raise invalid(problems)
    return spec


async def _would_be(services: Services, caller: Caller, name: str, spec: ClusterSpec) -> Cluster:
    if name and await services.store.find(caller.name, name) is not None:
        raise _taken(name)
    await _check_limits(services, caller, name)
    bounds = bounds_of(services.config, spec.profile)
    cluster = new_cluster(name or new_cluster_name(), spec, caller.identity, bounds, services.clock(), uid="")
    await services.check_quotas(None, cluster)
    return cluster


async def _record(
    services: Services, caller: Caller, request: pb.CreateClusterRequest, spec: ClusterSpec
) -> tuple[Cluster, bool]:
    async with services.creating:
        await _check_limits(services, caller, request.name)
        cluster, created = await _stored(services, caller, request, spec)
    reached("create.recorded")
    if created:
        await services.control.created(cluster)
    return cluster, created


async def _stored(
    services: Services, caller: Caller, request: pb.CreateClusterRequest, spec: ClusterSpec
) -> tuple[Cluster, bool]:
    bounds = bounds_of(services.config, spec.profile)
    for attempt in range(_MOST_NAMES_TRIED):
        cluster = new_cluster(
            request.name or new_cluster_name(),
            spec,
            caller.identity,
            bounds,
            services.clock(),
            proxied=services.dashboards is not None and not is_open(spec, services.config),
        )
        await _check_quotas(services, caller, request.name, cluster)
        (event,) = from_caller([_created_event(cluster)], caller)
        try:
            return await services.store.create(
                cluster, request_id=request.request_id, event=event, named=bool(request.name)
            )
        except ClusterExists:
            if request.name or attempt == _MOST_NAMES_TRIED - 1:
                raise
    raise AssertionError("the loop returns or raises")


async def _check_limits(services: Services, caller: Caller, name: str) -> None:
    # Where a live one has this name nothing can be added: the store tells a repeat of the same request from a clash.
    if name and await services.store.find(caller.name, name) is not None:
        return
    limits = services.config.limits
    used = await services.store.count_live(caller.name)
    if used >= limits.max_clusters:
        raise LimitExceeded(
            f"you have {used} clusters, and {limits.max_clusters} are allowed: delete one, or ask the administrator to "
            "raise `limits.max_clusters`",
            facts={"used": str(used), "allowed": str(limits.max_clusters)},
        )
    total = await services.store.count_live(None)
    if total >= limits.max_clusters_total:
        raise LimitExceeded(
            f"this daemon keeps {total} clusters, and may keep {limits.max_clusters_total}: try later, or ask the "
            "administrator to raise `limits.max_clusters_total`",
            facts={"used": str(total), "allowed": str(limits.max_clusters_total)},
        )


async def _check_quotas(services: Services, caller: Caller, name: str, cluster: Cluster) -> None:
    # as with the limits: a repeat of the same request adds nothing
    if not name or await services.store.find(caller.name, name) is None:
        await services.check_quotas(None, cluster)


def _created_event(cluster: Cluster) -> NewEvent:
    counts = ", ".join(f"{group.desired} in {group.name!r}" for group in cluster.groups)
    facts = {"name": cluster.name, "profile": cluster.spec.profile} | {
        f"n_workers.{group.name}": str(group.desired) for group in cluster.groups
    }
    return NewEvent("CREATED", f"created by {cluster.owner}; workers: {counts}", cluster.owner, facts)


def _taken(name: str) -> ClusterExists:
    return ClusterExists(
        f"you have a cluster {name!r} already: choose another name, delete that one, or attach to it",
        facts={"name": name},
    )
