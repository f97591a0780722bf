"""The calls about worker groups and whole specs, as `AsyncDaskd` has them."""

from __future__ import annotations

from typing import Any

from daskd_api.v1 import cluster_pb2

from .calls import Caller
from .fields import fill
from .preview import GroupPreview, Preview
from .translate import from_message
from .types import Applied, Cluster, ClusterSpec, WorkerGroupSpec


class GroupCalls:
    """What becomes of the groups of a cluster that there is."""

    _caller: Caller
    _clusters: Any

    async def add_worker_group(self, name: str, group: WorkerGroupSpec, *, validate_only: bool = False) -> Cluster:
        """Add a worker group to a cluster, whose profile is laid under it. A repeat with the same group is harmless.

        Parameters
        ----------
        group
            What it shall be.
        validate_only
            Check everything, record nothing.

        Raises
        ------
        InvalidSpec
            A field is wrong.
        GroupExists
            The cluster has another group of that name, or one that is being removed.
        LimitExceeded
            More than you may have.
        """
        request = cluster_pb2.AddWorkerGroupRequest(name=name, validate_only=validate_only)
        fill("group", group, request.group)
        answer = await self._caller.call(self._clusters.AddWorkerGroup, request)
        return from_message(answer.cluster, Cluster)

    async def remove_worker_group(self, name: str, group: str) -> Cluster:
        """Have a worker group go: its workers' data moves, they end, and it is no more. A repeat is harmless.

        Parameters
        ----------
        group
            Its name.

        Raises
        ------
        GroupNotFound
            There is none of that name (any more).
        InvalidArgument
            It is the last one.
        """
        request = cluster_pb2.RemoveWorkerGroupRequest(name=name, group=group)
        answer = await self._caller.call(self._clusters.RemoveWorkerGroup, request)
        return from_message(answer.cluster, Cluster)

    async def apply(self, name: str, spec: ClusterSpec, *, validate_only: bool = False) -> Applied:
        """Make your live cluster of that name be as the spec says, or make one; a repeat changes nothing.

        Groups are added, removed, scaled, made adaptive or not. All of it happens, or none.

        Parameters
        ----------
        name
            A name of your own.
        spec
            What it shall be.
        validate_only
            Check everything, record nothing; the answer tells what would change.

        Raises
        ------
        InvalidSpec
            A field is wrong.
        SpecImmutable
            Something differs that can only be chosen at creation; ``problems`` says what.
        GroupExists
            A group of the spec is just being removed.
        LimitExceeded
            More than you may have.
        """
        request = cluster_pb2.ApplyClusterRequest(name=name, validate_only=validate_only)
        fill("spec", spec, request.spec)
        return from_message(await self._caller.call(self._clusters.ApplyCluster, request), Applied)

    async def preview(self, name: str = "", spec: ClusterSpec | None = None) -> Preview:
        """What `create` would record and submit. Does every check of it, makes nothing.

        Parameters
        ----------
        name, spec
            As for `create`.

        Raises
        ------
        InvalidSpec, ClusterExists, LimitExceeded
            As `create` does.
        """
        request = cluster_pb2.CreateClusterRequest(name=name, validate_only=True)
        fill("spec", spec or ClusterSpec(), request.spec)
        return from_message(await self._caller.call(self._clusters.CreateCluster, request), Preview)

    async def job_scripts(self, name: str) -> list[GroupPreview]:
        """What is submitted for the groups of a cluster that there is, one a group; nothing secret is in it."""
        request = cluster_pb2.PreviewClusterRequest(name=name)
        answer = await self._caller.call(self._clusters.PreviewCluster, request)
        return [from_message(item, GroupPreview) for item in answer.previews]
