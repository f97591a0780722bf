"""The daemon's API for asyncio programs: every call of it as a method, with dataclasses for what goes in and out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from google.protobuf.message import Message

from daskd_api.v1 import cluster_pb2, cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc, token_pb2, token_pb2_grpc

from .address import find_address, find_token
from .auth import credentials
from .calls import Caller, TLSFiles, open_channel
from .errors import DaemonUnavailable, InvalidSpec, Problem, ResumeTokenExpired
from .translate import from_message, to_message, to_timestamp
from .types import (
    AdaptivePolicy,
    Change,
    Cluster,
    ClusterSpec,
    Connection,
    CreatedToken,
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
    Token,
    Worker,
)

_PAGE = 1000


class AsyncDaskd:
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
    Every method raises the errors of `daskd_client.errors`: `DaemonUnavailable` when there is no daemon,
    `ClusterNotFound` for a name that is no cluster of yours, and so on. A ``name`` is a cluster's name, its uid
    (which alone reaches an ended one), or ``owner/name`` for administrators.

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
        self._caller = Caller(found, credentials(found, find_token(token)), timeout)
        self._clusters: Any = cluster_pb2_grpc.ClusterServiceStub(self._channel)
        self._daemon: Any = daemon_pb2_grpc.DaemonServiceStub(self._channel)
        self._tokens: Any = token_pb2_grpc.TokenServiceStub(self._channel)

    @property
    def address(self) -> str:
        """Where the daemon is."""
        return self._address

    @property
    def is_local(self) -> bool:
        """Whether it is reached by a unix socket, hence runs on this machine."""
        return self._is_local

    async def close(self) -> None:
        """Close the connection; streams that are still read end."""
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
        _fill("spec", spec or ClusterSpec(), request.spec)
        answer = await self._caller.call(self._clusters.CreateCluster, request)
        return from_message(answer.cluster, Cluster)

    async def get(self, name: str) -> Cluster:
        """A cluster."""
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
        """The clusters that you may see, newest first; live ones only, unless told otherwise."""
        wanted = cluster_pb2.ClusterFilter(
            phases=[cluster_pb2.Phase.Value(f"PHASE_{Phase(phase).value}") for phase in phases],
            name_prefix=name_prefix,
            owner=owner,
            include_ended=include_ended,
        )
        request = cluster_pb2.ListClustersRequest(filter=wanted, page_size=_PAGE)
        pages = self._pages(self._clusters.ListClusters, request)
        return [from_message(item, Cluster) async for answer in pages for item in answer.clusters]

    async def scale(self, name: str, n_workers: int, group: str = "") -> Cluster:
        """Set how many workers a group (by default the first) has, which turns its adaptive policy off."""
        request = cluster_pb2.ScaleClusterRequest(name=name, group=group)
        _set("n_workers", n_workers, request)
        answer = await self._caller.call(self._clusters.ScaleCluster, request)
        return from_message(answer.cluster, Cluster)

    async def adapt(self, name: str, policy: AdaptivePolicy | None) -> Cluster:
        """Put an adaptive policy in the place of the one before. None: off, the counts stay."""
        request = cluster_pb2.AdaptClusterRequest(name=name)
        if policy is not None:
            request.policy.SetInParent()
            _fill("policy", policy, request.policy)
        answer = await self._caller.call(self._clusters.AdaptCluster, request)
        return from_message(answer.cluster, Cluster)

    async def delete(self, name: str) -> Cluster:
        """Ask for a cluster's end; does not wait for it. A repeat is harmless."""
        answer = await self._caller.call(self._clusters.DeleteCluster, cluster_pb2.DeleteClusterRequest(name=name))
        return from_message(answer.cluster, Cluster)

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
        request = cluster_pb2.ShareClusterRequest(name=name, who=who, right=_right_number(right))
        answer = await self._caller.call(self._clusters.ShareCluster, request)
        return from_message(answer.cluster, Cluster)

    async def unshare(self, name: str, who: str) -> Cluster:
        """Share a cluster with that user or group no more. Their clients that are connected stay so."""
        request = cluster_pb2.UnshareClusterRequest(name=name, who=who)
        answer = await self._caller.call(self._clusters.UnshareCluster, request)
        return from_message(answer.cluster, Cluster)

    async def create_token(
        self,
        description: str = "",
        *,
        role: str = "user",
        right: Right | str = Right.MANAGE,
        clusters: Iterable[str] = (),
        lifetime: timedelta | None = None,
    ) -> CreatedToken:
        """Make a token that lasts, for a program or for use from another machine. It calls as you.

        Parameters
        ----------
        role
            The most that it makes of you: "user", "operator", "admin".
        right
            The most that it may do with a cluster: "view", "use", "manage".
        clusters
            Names or uids of those that it is for. None: all of yours, and new ones.
        lifetime
            A year at most. By default 30 days.
        """
        request = token_pb2.CreateTokenRequest(
            description=description, role=role, right=_right_number(right), clusters=clusters
        )
        if lifetime is not None:
            request.lifetime.FromTimedelta(lifetime)
        answer = await self._caller.call(self._tokens.CreateToken, request, retry=False)
        return from_message(answer, CreatedToken)

    async def list_tokens(self, *, all_users: bool = False) -> list[Token]:
        """Your tokens, oldest first; for administrators everybody's, if asked for."""
        answer = await self._caller.call(self._tokens.ListTokens, token_pb2.ListTokensRequest(all_users=all_users))
        return [from_message(token, Token) for token in answer.tokens]

    async def revoke_token(self, token_id: str) -> Token:
        """End a token at once.

        Raises
        ------
        TokenNotFound
            There is none of that id that you may end.
        """
        answer = await self._caller.call(self._tokens.RevokeToken, token_pb2.RevokeTokenRequest(id=token_id))
        return from_message(answer.token, Token)

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
        """A cluster's workers, those that are still expected and, if asked for, those that ended."""
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
        """
        request = cluster_pb2.StreamLogsRequest(name=name, scheduler=scheduler, worker=worker, follow=follow)
        if tail is not None:
            _set("tail", tail, request)
        if since is not None:
            request.since_time.CopyFrom(to_timestamp(since))
        async with aclosing(self._caller.stream(self._clusters.StreamLogs, request)) as answers:
            async for answer in answers:
                for line in answer.lines:
                    yield from_message(line, LogLine)

    async def events(self, name: str) -> list[Event]:
        """A cluster's history, oldest first."""
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
        """Let go of what lost clients left, or of one client's only; answers how much that was."""
        request = cluster_pb2.DiscardHeldWorkRequest(name=name, client=client)
        answer = await self._caller.call(self._clusters.DiscardHeldWork, request, retry=False)
        return from_message(answer, Discarded)

    async def info(self) -> DaemonInfo:
        """What the daemon is, and whom it takes you for."""
        answer = await self._caller.call(self._daemon.GetDaemonInfo, daemon_pb2.GetDaemonInfoRequest())
        return from_message(answer, DaemonInfo)

    async def profiles(self) -> list[Profile]:
        """The administrator's templates."""
        answer = await self._caller.call(self._daemon.ListProfiles, daemon_pb2.ListProfilesRequest())
        return [from_message(item, Profile) for item in answer.profiles]

    async def drivers(self) -> list[Driver]:
        """The systems that can launch workers."""
        answer = await self._caller.call(self._daemon.ListDrivers, daemon_pb2.ListDriversRequest())
        return [from_message(item, Driver) for item in answer.drivers]

    async def _pages(self, method: Any, request: Any) -> AsyncIterator[Any]:
        while True:
            answer = await self._caller.call(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token


def _fill(field: str, value: Any, message: Message) -> None:
    """Write a dataclass into a request; a value that no message can hold is the caller's error, named by field."""
    try:
        to_message(value, message)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def _set(field: str, value: Any, message: Message) -> None:
    try:
        setattr(message, field, value)
    except (TypeError, ValueError) as error:
        raise _unfit(field, error) from error


def _unfit(field: str, error: Exception) -> InvalidSpec:
    return InvalidSpec(f"{field}: {error}", problems=(Problem(field, str(error)),))


def _right_number(right: Right | str) -> cluster_pb2.Right.ValueType:
    known = {each.value: each for each in Right}
    wanted = known.get(str(getattr(right, "value", right)).upper(), Right.UNSPECIFIED)
    return cluster_pb2.Right.Value(f"RIGHT_{wanted.value}")
