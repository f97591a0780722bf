"""What is, or would be, submitted for the groups of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from daskd.model.cluster import Cluster
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import DriverInfo
from daskd.security.peer import identity_of
from daskd_api.v1 import cluster_pb2 as pb

from .services import Services


async def preview_cluster(services: Services, cluster: Cluster) -> pb.PreviewClusterResponse:
    """The previews of a cluster that the caller may see."""
    owner = await asyncio.to_thread(identity_of, cluster.owner_uid)
    return pb.PreviewClusterResponse(previews=previews_of(cluster.spec, services.control.drivers, owner))


def previews_of(spec: ClusterSpec, drivers: Mapping[str, DriverInfo], who: Identity) -> list[pb.GroupPreview]:
    """One a group, for clusters of that user."""
    return [_preview(spec, group, drivers, who) for group in spec.groups]


def _preview(
    spec: ClusterSpec, group: WorkerGroupSpec, drivers: Mapping[str, DriverInfo], who: Identity
) -> pb.GroupPreview:
    message = pb.GroupPreview(
        name=group.name,
        driver=group.driver,
        instances=group.instances_for(group.n_workers),
        workers=group.n_workers,
    )
    driver = drivers.get(group.driver)
    # of a live cluster, it may have been uninstalled
    found = driver.preview(spec, group, who) if driver is not None and driver.available else None
    if found is not None:
        message.command, message.submissions, message.script = found.command, found.submissions, found.script
    return message
