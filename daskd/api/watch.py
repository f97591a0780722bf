"""WatchClusters: what exists, then each change once, in order, across reconnects and restarts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from daskd.model.cluster import Cluster
from daskd.model.errors import InvalidArgument
from daskd.model.event import Change
from daskd.security.authorize import Caller, may_see, resolve
from daskd_api.v1 import cluster_pb2 as pb

from .listing import shown_to, visible
from .marks import Mark, read_mark, write_mark
from .services import Services
from .streams import stopped, unless_stopping
from .translate import event_message

_KIND = "watch"
_PAGE = 100  # as much as a slow client makes us hold


@dataclass(frozen=True, slots=True)
class Watch:
    """One caller's watch.

    Attributes
    ----------
    only
        The uid of the one cluster that is watched; empty: all that the caller may see.
    """

    services: Services
    caller: Caller
    only: str
    include_events: bool

    async def from_now(self) -> AsyncGenerator[pb.WatchClustersResponse, None]:
        """What exists, a mark that this was all, and then what changes; ends only by an error."""
        # Read before the listing: what changes meanwhile is told again, rather than missed.
        start = self.services.store.revision
        async for cluster in self._existing():
            # no token: who was cut off in here begins anew
            yield pb.WatchClustersResponse(kind=pb.WATCH_KIND_EXISTING, cluster=self._shown(cluster))
        yield pb.WatchClustersResponse(kind=pb.WATCH_KIND_SYNCED, resume_token=self._token(start))
        async with aclosing(self.after(start)) as answers:
            async for answer in answers:
                yield answer

    async def after(self, revision: int) -> AsyncGenerator[pb.WatchClustersResponse, None]:
        """What changed after that revision, and what changes; ends only by an error."""
        store = self.services.store
        async with store.subscribe() as subscription:
            while True:
                changes = await store.changes(revision, _PAGE)
                for change in changes:
                    revision = change.revision
                    if answer := await self._answer(change):
                        yield answer
                if not changes:
                    await unless_stopping(self.services.stopping, subscription.wait(revision))

    async def _existing(self) -> AsyncIterator[Cluster]:
        store = self.services.store
        if self.only:
            if (cluster := await store.get(self.only)) is not None:
                yield cluster
            return
        token = ""
        while True:
            page = await store.list(replace(visible(self.caller), limit=_PAGE, after=token))
            for cluster in page.items:
                if may_see(self.caller, cluster):
                    yield cluster
            if not (token := page.next_token):
                return

    async def _answer(self, change: Change) -> pb.WatchClustersResponse | None:
        if self.services.stopping.is_set():
            raise stopped()
        if self.only and change.cluster != self.only:
            return None
        cluster = await self.services.store.get(change.cluster)
        if cluster is None or not may_see(self.caller, cluster):
            return None
        answer = pb.WatchClustersResponse(
            kind=pb.WATCH_KIND_CHANGED, cluster=self._shown(cluster), resume_token=self._token(change.revision)
        )
        if self.include_events and change.event is not None:
            answer.event.CopyFrom(event_message(change.event))
        return answer

    def _shown(self, cluster: Cluster) -> pb.Cluster:
        return shown_to(self.caller, cluster)

    def _token(self, revision: int) -> str:
        return write_mark(Mark(_KIND, self.only, revision), self.services.store.state_id)


async def open_watch(
    services: Services, caller: Caller, request: pb.WatchClustersRequest
) -> AsyncGenerator[pb.WatchClustersResponse, None]:
    """The answers to a watch.

    Raises
    ------
    ClusterNotFound
        When a cluster is named that the caller may not see.
    InvalidArgument
        When the resume token is none, or of a watch of something else.
    ResumeTokenExpired
        When the changes after it are not kept any more.
    """
    if not request.resume_token:
        only = (await resolve(services.store, caller, request.name)).uid if request.name else ""
        return Watch(services, caller, only, request.include_events).from_now()
    mark = read_mark(request.resume_token, _KIND, services.store.state_id, "resume_token")
    # The token says which cluster it was, for by now the name may be another's, or nobody's.
    if request.name or mark.uid:
        cluster = await resolve(services.store, caller, mark.uid or request.name)
        if not mark.uid or request.name not in (cluster.uid, cluster.name, f"{cluster.owner}/{cluster.name}"):
            raise InvalidArgument(
                "resume_token is of a watch of something else: give the name that the watch was opened with",
                facts={"field": "resume_token"},
            )
    return Watch(services, caller, mark.uid, request.include_events).after(mark.revision)
