"""The daemon's API for asyncio programs: every call of it as a method, with dataclasses for what goes in and out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any

from daskd_api.v1 import cluster_pb2, cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc, token_pb2_grpc

from .address import find_address, find_token
from .auth import credentials
from .calls import Caller, TLSFiles, open_channel
from .errors import DaemonUnavailable, InvalidArgument, ResumeTokenExpired
from .explanation import Explanation
from .fields import fill, put, right_number
from .group_calls import GroupCalls
from .token_calls import TokenCalls
from .translate import from_message, to_timestamp
from .types import (
    AdaptivePolicy,
    Change,
    Cluster,
    ClusterSpec,
    Connection,
    DaemonInfo,
    DashboardLink,
    Discarded,
    Driver,
    Event,
    HeldWork,
    LogLine,
    Phase,
    Profile,
    Right,
    Worker,
)

_PAGE = 1000


class AsyncDaskd(GroupCalls, TokenCalls):
    """A client of the daemon's API.

    It may be used from any event loop, from several too. A daemon that is being started again is waited for, for a
    bounded time; calls that could do harm when made twice are not repeated.

    Parameters
    ----------
    address
        Where the daemon is: ``unix:/path`` or ``host:port``. By default DASKD_ADDRESS, else ``daskd.address`` of Dask's
        configuration, else the user's own daemon's socket, else the system's.
    token
        The token for a daemon reached over TCP. By default DASKD_TOKEN, else ``daskd.token``.
    timeout
        Seconds that one call may take.

    Raises
    ------
    InvalidAddress
        The address is none.

    Notes
    -----
    A ``name`` is a cluster's name, its uid (which alone reaches an ended one), or ``owner/name`` for one that is
    shared with you, and for administrators. Where a call answers with a cluster, that is its record as it is then.

    Whatever is asked, these may be raised: `DaemonUnavailable` when no daemon is reached, `DeadlineExceeded` when it
    takes longer than `timeout`, `Unauthenticated` when it does not know you, `NotAllowed` when you may not do this,
    and, where a cluster is named, `ClusterNotFound` when there is none of that name that you may see.

    Examples
    --------
    >>> async with AsyncDaskd() as daskd:  # doctest: +SKIP
    ...     for cluster in await daskd.list_clusters():
    ...         print(cluster.name, cluster.phase.value)
    """

    def __init__(self, address: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        found = find_address(address)
        self._address = str(found)
        self._is_local = found.socket is not None
        self._channel = open_channel(found, TLSFiles.configured())
        self._clusters: Any = cluster_pb2_grpc.ClusterServiceStub(self._channel)
        self._daemon: Any = daemon_pb2_grpc.DaemonServiceStub(self._channel)
        self._tokens: Any = token_pb2_grpc.TokenServiceStub(self._channel)
        self._caller = Caller(found, credentials(found, find_token(token)), timeout, self._daemon.GetDaemonInfo)

    @property
    def address(self) -> str:
        """Where the daemon is."""
        return self._address

    @property
    def is_local(self) -> bool:
        """Whether it is reached by a unix socket, hence runs on this machine."""
        return self._is_local

    async def close(self) -> None:
        """Close the connection; streams that are still read end. Leaving the context does it."""
        self._channel.close()

    async def __aenter__(self) -> AsyncDaskd:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def create(
        self,
        name: str = "",
        spec: ClusterSpec | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Cluster:
        """Record a cluster, which is then started; does not wait for that.

        Parameters
        ----------
        name
            Unique among your live clusters. Empty: one is made up.
        spec
            What it shall be. None: the default profile's.
        request_id
            The same id again answers with the same cluster. None: one is made, so that a retry makes no second cluster.
        validate_only
            Check everything, record nothing.

        Returns
        -------
        Cluster
            As it was recorded, or would be: with its name, and all that was left open decided.

        Raises
        ------
        InvalidSpec
            A field is wrong.
        ClusterExists
            You have a live cluster of that name.
        LimitExceeded
            More than you may have.
        """
        request = cluster_pb2.CreateClusterRequest(
            name=name, request_id=request_id or uuid.uuid4().hex, validate_only=validate_only
        )
        fill("spec", spec or ClusterSpec(), request.spec)
        answer = await self._caller.call(self._clusters.CreateCluster, request)
        return from_message(answer.cluster, Cluster)

    async def get(self, name: str) -> Cluster:
        """A cluster, a live one by its name, an ended one by its uid as long as it is remembered."""
        answer = await self._caller.call(self._clusters.GetCluster, cluster_pb2.GetClusterRequest(name=name))
        return from_message(answer.cluster, Cluster)

    async def list_clusters(
        self,
        *,
        phases: Iterable[Phase] = (),
        name_prefix: str = "",
        owner: str = "",
        include_ended: bool = False,
    ) -> list[Cluster]:
        """The clusters that you may see, newest first.

        Parameters
        ----------
        phases
            Those in one of these phases only. Empty: in any.
        name_prefix
            Those whose name begins so.
        owner
            This user's only.
        include_ended
            Ended ones too, as long as they are remembered.
        """
        wanted = cluster_pb2.ClusterFilter(
            phases=[cluster_pb2.Phase.Value(f"PHASE_{Phase(phase).value}") for phase in phases],
            name_prefix=name_prefix,
            owner=owner,
            include_ended=include_ended,
        )
        request = cluster_pb2.ListClustersRequest(filter=wanted, page_size=_PAGE)
        pages = self._pages(self._clusters.ListClusters, request)
        return [from_message(item, Cluster) async for answer in pages for item in answer.clusters]

    async def scale(
        self,
        name: str,
        n_workers: int | None = None,
        group: str = "",
        *,
        cores: int | None = None,
        memory: str | None = None,
    ) -> Cluster:
        """Set how many workers a group has, which turns its adaptive policy off. Does not wait for them.

        Parameters
        ----------
        n_workers, cores, memory
            One of them: workers, 0 and up, or threads or memory (``"64GiB"``) in whole workers, rounded up.
        group
            Its name. Empty: the first.

        Raises
        ------
        InvalidArgument
            None of the three was given, or several; or the number is none.
        GroupNotFound, ClusterNotRunning, LimitExceeded
            There is no such group; the cluster has ended; it is more than you may have.
        """
        given = {"n_workers": n_workers, "cores": cores, "memory": memory}
        given = {field: value for field, value in given.items() if value is not None}
        if len(given) != 1:
            raise InvalidArgument("scale() takes one of n_workers, cores and memory.", facts={"field": "n_workers"})
        request = cluster_pb2.ScaleClusterRequest(name=name, group=group)
        for field, value in given.items():
            put(field, value, request)
        answer = await self._caller.call(self._clusters.ScaleCluster, request)
        return from_message(answer.cluster, Cluster)

    async def adapt(self, name: str, policy: AdaptivePolicy | None, group: str = "") -> Cluster:
        """Put an adaptive policy in the place of the one that a group had, as a whole.

        Parameters
        ----------
        policy
            What holds from now on; what is None in it is the daemon's to choose. None: off, the count stays.
        group
            Its name. Empty: the first.

        Raises
        ------
        InvalidArgument, GroupNotFound, ClusterNotRunning, LimitExceeded
            The policy is at odds with itself; its group is none; the cluster has ended; it could grow beyond what you
            may have.
        """
        request = cluster_pb2.AdaptClusterRequest(name=name, group=group)
        if policy is not None:
            request.policy.SetInParent()
            fill("policy", policy, request.policy)
        answer = await self._caller.call(self._clusters.AdaptCluster, request)
        return from_message(answer.cluster, Cluster)

    async def delete(self, name: str) -> Cluster:
        """Ask for a cluster's end. Does not wait for it: `watch` its uid until it has ended. A repeat is harmless."""
        answer = await self._caller.call(self._clusters.DeleteCluster, cluster_pb2.DeleteClusterRequest(name=name))
        return from_message(answer.cluster, Cluster)

    async def explain(self, name: str) -> Explanation:
        """Why a cluster is as it is: what each group aims at and why, what waits for what."""
        request = cluster_pb2.ExplainClusterRequest(name=name)
        return from_message(await self._caller.call(self._clusters.ExplainCluster, request), Explanation)

    async def share(self, name: str, who: str, right: Right | str = Right.USE) -> Cluster:
        """Share a cluster with a user or a group. Who had another right has this one instead.

        Parameters
        ----------
        who
            A user's name, or "@" and a group's.
        right
            "view": see it and its logs; "use": connect to it too, which is to run code as its owner; "manage": scale
            and end it too.

        Raises
        ------
        InvalidArgument
            There is no such user, group or right.
        """
        request = cluster_pb2.ShareClusterRequest(name=name, who=who, right=right_number(right))
        answer = await self._caller.call(self._clusters.ShareCluster, request)
        return from_message(answer.cluster, Cluster)

    async def unshare(self, name: str, who: str) -> Cluster:
        """Share a cluster with that user or group no more. Their clients that are connected stay so.

        Parameters
        ----------
        who
            As it was shared: a user's name, or "@" and a group's.
        """
        request = cluster_pb2.UnshareClusterRequest(name=name, who=who)
        answer = await self._caller.call(self._clusters.UnshareCluster, request)
        return from_message(answer.cluster, Cluster)

    async def watch(
        self, name: str = "", *, resume_token: str = "", include_events: bool = False
    ) -> AsyncGenerator[Change, None]:
        """Clusters as they change: those that exist, a `WatchKind.SYNCED`, then each change once, in order.

        A lost connection is made again and the watch goes on where it was. When the daemon does not keep the changes
        since then any more, it begins anew with what exists.

        Parameters
        ----------
        name
            One cluster. Empty: every one that you may see.
        resume_token
            `Change.resume_token` of the last change that was seen. Empty: begin with what exists.
        include_events
            Tell events too.

        Raises
        ------
        DaemonUnavailable
            The daemon was away for longer than is waited for: watch again, with the last `resume_token`.
        """
        pauses = None
        while True:
            request = cluster_pb2.WatchClustersRequest(
                name=name, resume_token=resume_token, include_events=include_events
            )
            try:
                async with aclosing(self._caller.stream(self._clusters.WatchClusters, request)) as answers:
                    async for answer in answers:
                        pauses = None
                        resume_token = answer.resume_token or resume_token
                        yield from_message(answer, Change)
            except ResumeTokenExpired:
                resume_token = ""
            except DaemonUnavailable:
                pauses = pauses or self._caller.pauses()
                pause = next(pauses, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def workers(self, name: str, *, group: str = "", include_ended: bool = False) -> list[Worker]:
        """A cluster's workers, those that are still expected too.

        Parameters
        ----------
        group
            Only this group's. Empty: all.
        include_ended
            Those that ended too, with how, as long as they are remembered.

        Raises
        ------
        GroupNotFound
            The cluster has no such group.
        """
        request = cluster_pb2.ListWorkersRequest(name=name, group=group, include_ended=include_ended)
        answer = await self._caller.call(self._clusters.ListWorkers, request)
        return [from_message(item, Worker) for item in answer.workers]

    async def logs(
        self,
        name: str,
        *,
        scheduler: bool = False,
        worker: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """Log lines of a cluster, an ended one's too as long as they are kept.

        Parameters
        ----------
        name
            The cluster.
        scheduler
            The scheduler's log only.
        worker
            This worker's log only, by name or instance id. With neither: all.
        follow
            Go on until the cluster has ended.
        tail
            Only the last so many lines of each log.
        since
            Only lines written at or after this.

        Raises
        ------
        WorkerNotFound
            The cluster has no such worker.
        """
        request = cluster_pb2.StreamLogsRequest(name=name, scheduler=scheduler, worker=worker, follow=follow)
        if tail is not None:
            put("tail", tail, request)
        if since is not None:
            request.since_time.CopyFrom(to_timestamp(since))
        async with aclosing(self._caller.stream(self._clusters.StreamLogs, request)) as answers:
            async for answer in answers:
                for line in answer.lines:
                    yield from_message(line, LogLine)

    async def events(self, name: str) -> list[Event]:
        """A cluster's history, oldest first; for administrators, by an empty name, what was no cluster's."""
        pages = self._pages(self._clusters.ListEvents, cluster_pb2.ListEventsRequest(name=name, page_size=_PAGE))
        return [from_message(item, Event) async for answer in pages for item in answer.events]

    async def connection(self, name: str) -> Connection:
        """What a Dask client needs to connect.

        Raises
        ------
        ClusterNotRunning
            There is no scheduler (yet, or any more).
        """
        request = cluster_pb2.GetConnectionRequest(name=name)
        return from_message(await self._caller.call(self._clusters.GetConnection, request), Connection)

    async def dashboard_link(self, name: str) -> DashboardLink:
        """A link that opens a cluster's dashboard in a browser: once, and soon, where the daemon serves it.

        Raises
        ------
        ClusterNotRunning
            There is no scheduler (yet, or any more).
        DaskdError
            The cluster has no dashboard (reason ``NO_DASHBOARD``).
        """
        request = cluster_pb2.CreateDashboardLinkRequest(name=name)
        return from_message(await self._caller.call(self._clusters.CreateDashboardLink, request), DashboardLink)

    async def held_work(self, name: str) -> list[HeldWork]:
        """What lost clients left.

        Raises
        ------
        SchedulerUnreachable
            The cluster's scheduler does not answer.
        """
        answer = await self._caller.call(self._clusters.ListHeldWork, cluster_pb2.ListHeldWorkRequest(name=name))
        return [from_message(item, HeldWork) for item in answer.held_work]

    async def discard_held_work(self, name: str, client: str = "") -> Discarded:
        """Let go of what lost clients left, or of one client's only; answers how much that was.

        Parameters
        ----------
        client
            `HeldWork.client` of the one. Empty: all.

        Raises
        ------
        SchedulerUnreachable
            The cluster's scheduler does not answer.
        """
        request = cluster_pb2.DiscardHeldWorkRequest(name=name, client=client)
        answer = await self._caller.call(self._clusters.DiscardHeldWork, request, retry=False)
        return from_message(answer, Discarded)

    async def info(self) -> DaemonInfo:
        """What the daemon is, and whom it takes you for."""
        answer = await self._caller.call(self._daemon.GetDaemonInfo, daemon_pb2.GetDaemonInfoRequest())
        return from_message(answer, DaemonInfo)

    async def profiles(self) -> list[Profile]:
        """The administrator's templates, for `ClusterSpec.profile`."""
        answer = await self._caller.call(self._daemon.ListProfiles, daemon_pb2.ListProfilesRequest())
        return [from_message(item, Profile) for item in answer.profiles]

    async def drivers(self) -> list[Driver]:
        """The systems that can launch workers, for `WorkerGroupSpec.driver`; with the schema of their options."""
        answer = await self._caller.call(self._daemon.ListDrivers, daemon_pb2.ListDriversRequest())
        return [from_message(item, Driver) for item in answer.drivers]

    async def _pages(self, method: Any, request: Any) -> AsyncIterator[Any]:
        while True:
            answer = await self._caller.call(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token
