"""ClusterService: translate, authorise, delegate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeAlias

import grpc
import structlog

from daskd.control import desired
from daskd.model.access import Right
from daskd.model.cluster import Cluster
from daskd.model.errors import InvalidArgument, Problem
from daskd.model.event import NewEvent
from daskd.security.authorize import resolve
from daskd_api.v1 import cluster_pb2 as pb
from daskd_api.v1 import cluster_pb2_grpc

from . import listing, translate
from .apply import apply_cluster
from .changing import StepFrom, change
from .create import bounds_of
from .dashboard import create_dashboard_link, with_dashboard
from .edge import current_caller
from .explain import explain_cluster
from .groups import add_group, remove_group
from .history import from_caller
from .policy import read_policy, read_size
from .preview import preview_cluster, previews_of
from .recording import record_cluster
from .services import Services
from .sharing import read_grant, read_subject
from .streams import each_unless_stopping
from .watch import open_watch

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_Context: TypeAlias = grpc.aio.ServicerContext


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """Answers about clusters, and takes what users want of them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def CreateCluster(self, request: pb.CreateClusterRequest, context: _Context) -> pb.CreateClusterResponse:
        """Records a cluster and returns; it is started afterwards."""
        caller = current_caller()
        cluster = await record_cluster(self._services, caller, request)
        drivers = self._services.control.drivers
        previews = previews_of(cluster.spec, drivers, caller.identity) if request.validate_only else ()
        return pb.CreateClusterResponse(cluster=_shown(cluster), previews=previews)

    async def GetCluster(self, request: pb.GetClusterRequest, context: _Context) -> pb.GetClusterResponse:
        """One cluster."""
        return pb.GetClusterResponse(cluster=_shown(await self._resolve(request.name)))

    async def ListClusters(self, request: pb.ListClustersRequest, context: _Context) -> pb.ListClustersResponse:
        """Those the caller may see, newest first."""
        return await listing.list_clusters(self._services, current_caller(), request)

    async def ScaleCluster(self, request: pb.ScaleClusterRequest, context: _Context) -> pb.ScaleClusterResponse:
        """Sets the number of workers of a group, and turns its adaptive policy off."""
        cluster = await self._resolve(request.name, Right.MANAGE)
        bounds = bounds_of(self._services.config, cluster.spec.profile)
        actor = current_caller().name
        size = read_size(request)
        changed = await self._change(
            cluster, lambda now: desired.scaled(now, request.group, size, actor=actor, bounds=bounds)
        )
        log.info("cluster scaled", cluster=cluster.name, cluster_uid=cluster.uid, size=str(size))
        return pb.ScaleClusterResponse(cluster=_shown(changed))

    async def AdaptCluster(self, request: pb.AdaptClusterRequest, context: _Context) -> pb.AdaptClusterResponse:
        """Sets, changes or removes the adaptive policy of a group."""
        cluster = await self._resolve(request.name, Right.MANAGE)
        actor = current_caller().name
        if request.HasField("policy"):
            name = desired.staying_group(cluster, request.group)
            policy = read_policy(request.policy, name, cluster.spec.profile, self._services.config)
            bounds = bounds_of(self._services.config, cluster.spec.profile)
            since = self._services.clock()
            changed = await self._change(
                cluster, lambda now: desired.adapted(now, name, policy, actor=actor, bounds=bounds, now=since)
            )
        else:
            changed = await self._change(cluster, lambda now: desired.unadapted(now, request.group, actor=actor))
        on = request.HasField("policy")
        log.info("cluster adapted", cluster=cluster.name, cluster_uid=cluster.uid, group=request.group, on=on)
        return pb.AdaptClusterResponse(cluster=_shown(changed))

    async def AddWorkerGroup(self, request: pb.AddWorkerGroupRequest, context: _Context) -> pb.AddWorkerGroupResponse:
        """Adds a worker group. A repeat is harmless."""
        return pb.AddWorkerGroupResponse(cluster=_shown(await add_group(self._services, current_caller(), request)))

    async def RemoveWorkerGroup(
        self, request: pb.RemoveWorkerGroupRequest, context: _Context
    ) -> pb.RemoveWorkerGroupResponse:
        """Removes a worker group, once its workers' data has moved. A repeat is harmless."""
        cluster = await remove_group(self._services, current_caller(), request)
        return pb.RemoveWorkerGroupResponse(cluster=_shown(cluster))

    async def ApplyCluster(self, request: pb.ApplyClusterRequest, context: _Context) -> pb.ApplyClusterResponse:
        """Makes a cluster be as the spec says, or makes one."""
        done = await apply_cluster(self._services, current_caller(), request)
        return pb.ApplyClusterResponse(cluster=_shown(done.cluster), changes=done.changes)

    async def ExplainCluster(self, request: pb.ExplainClusterRequest, context: _Context) -> pb.ExplainClusterResponse:
        """Why it is as it is."""
        return await explain_cluster(self._services, current_caller(), await self._resolve(request.name))

    async def PreviewCluster(self, request: pb.PreviewClusterRequest, context: _Context) -> pb.PreviewClusterResponse:
        """What is submitted for it."""
        return await preview_cluster(self._services, await self._resolve(request.name))

    async def DeleteCluster(self, request: pb.DeleteClusterRequest, context: _Context) -> pb.DeleteClusterResponse:
        """Asks for the cluster's end. A repeat is harmless."""
        cluster = await self._resolve(request.name, Right.MANAGE)
        actor = current_caller().name
        changed = await self._change(cluster, lambda now: desired.deleted(now, actor=actor))
        log.info("cluster deleted", cluster=cluster.name, cluster_uid=cluster.uid)
        return pb.DeleteClusterResponse(cluster=_shown(changed))

    async def WatchClusters(
        self, request: pb.WatchClustersRequest, context: _Context
    ) -> AsyncIterator[pb.WatchClustersResponse]:
        """Clusters and events as they change."""
        answers = await open_watch(self._services, current_caller(), request)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: _Context) -> pb.ListWorkersResponse:
        """The workers of a cluster."""
        cluster = await self._resolve(request.name)
        group = desired.group_name(cluster, request.group) if request.group else ""
        workers = await self._services.control.workers(cluster, request.include_ended)
        shown = [translate.worker_message(worker) for worker in workers if group in ("", worker.group)]
        return pb.ListWorkersResponse(workers=shown)

    async def StreamLogs(
        self, request: pb.StreamLogsRequest, context: _Context
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        """Log lines."""
        cluster = await self._resolve(request.name)
        if request.scheduler and request.worker:
            raise _argument("worker", "ask for the scheduler's log or for a worker's, not for both")
        if request.tail < 0:
            raise _argument("tail", f"{request.tail} is out of range: write a number of lines from 0 up")
        batches = self._services.control.logs(
            cluster,
            scheduler=request.scheduler,
            worker=request.worker,
            follow=request.follow,
            tail=request.tail if request.HasField("tail") else None,
            since=translate.unix_seconds(request.since_time) if request.HasField("since_time") else None,
        )
        async for lines in each_unless_stopping(self._services.stopping, batches):
            yield pb.StreamLogsResponse(lines=[translate.log_line_message(line) for line in lines])

    async def ListEvents(self, request: pb.ListEventsRequest, context: _Context) -> pb.ListEventsResponse:
        """The cluster's history, oldest first; for administrators and without a name the daemon's own."""
        if not request.name and current_caller().is_admin:
            return await listing.list_events(self._services, "", request)
        cluster = await self._resolve(request.name)
        return await listing.list_events(self._services, cluster.uid, request)

    async def GetConnection(self, request: pb.GetConnectionRequest, context: _Context) -> pb.GetConnectionResponse:
        """What a Dask client needs to connect."""
        cluster = await self._resolve(request.name, Right.USE)
        connection = await self._services.control.connection(cluster)
        caller = current_caller()
        if not caller.owns(cluster):
            words = f"{caller.name} was given what it takes to connect"
            event = NewEvent("CONNECTION_GIVEN", words, caller.name)
            await self._services.store.update(cluster.uid, lambda now: now, events=from_caller([event], caller))
        log.info("connection given", cluster=cluster.name, cluster_uid=cluster.uid, owner=cluster.owner)
        return translate.connection_message(with_dashboard(self._services, cluster, connection))

    async def ListHeldWork(self, request: pb.ListHeldWorkRequest, context: _Context) -> pb.ListHeldWorkResponse:
        """What lost clients left."""
        held = await self._services.control.held_work(await self._resolve(request.name, Right.USE))
        return pb.ListHeldWorkResponse(held_work=[translate.held_work_message(each) for each in held])

    async def DiscardHeldWork(
        self, request: pb.DiscardHeldWorkRequest, context: _Context
    ) -> pb.DiscardHeldWorkResponse:
        """Lets go of what lost clients left."""
        cluster = await self._resolve(request.name, Right.MANAGE)
        discarding = self._services.control.discard_held_work(cluster, request.client)
        keys, size = await self._services.to_its_end(discarding)
        caller = current_caller()
        words = f"{keys} keys of lost work were let go of"
        event = NewEvent("HELD_WORK_DISCARDED", words, caller.name, {"keys": str(keys), "client": request.client})
        await self._services.store.update(cluster.uid, lambda now: now, events=from_caller([event], caller))
        log.info("held work discarded", cluster=cluster.name, cluster_uid=cluster.uid, keys=keys)
        return pb.DiscardHeldWorkResponse(keys=keys, bytes=size)

    async def ShareCluster(self, request: pb.ShareClusterRequest, context: _Context) -> pb.ShareClusterResponse:
        """Shares a cluster with a user or a group."""
        cluster = await self._resolve(request.name, Right.SHARE)
        grant = await read_grant(request.who, request.right)
        actor = current_caller().name
        changed = await self._change(cluster, lambda now: desired.shared(now, grant, actor=actor))
        log.info("cluster shared", cluster=cluster.name, cluster_uid=cluster.uid, who=grant.who, right=grant.right)
        return pb.ShareClusterResponse(cluster=_shown(changed))

    async def UnshareCluster(self, request: pb.UnshareClusterRequest, context: _Context) -> pb.UnshareClusterResponse:
        """Shares it no more."""
        cluster = await self._resolve(request.name, Right.SHARE)
        who, actor = read_subject(request.who), current_caller().name
        changed = await self._change(cluster, lambda now: desired.unshared(now, who, actor=actor))
        log.info("cluster unshared", cluster=cluster.name, cluster_uid=cluster.uid, who=who)
        return pb.UnshareClusterResponse(cluster=_shown(changed))

    async def CreateDashboardLink(
        self, request: pb.CreateDashboardLinkRequest, context: _Context
    ) -> pb.CreateDashboardLinkResponse:
        """A link that opens the cluster's dashboard, once."""
        return await create_dashboard_link(self._services, current_caller(), request)

    async def _resolve(self, name: str, right: Right = Right.VIEW) -> Cluster:
        return await resolve(self._services.store, current_caller(), name, right)

    async def _change(self, cluster: Cluster, step: StepFrom) -> Cluster:
        return (await change(self._services, current_caller(), cluster.uid, step)).cluster


def _shown(cluster: Cluster) -> pb.Cluster:
    return listing.shown_to(current_caller(), cluster)


def _argument(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(words, facts={"field": field}, problems=[Problem(field, words)])
