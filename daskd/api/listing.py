"""Lists, page by page: bounded in number and in bytes, since a client refuses an answer of more than 4 MiB."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.message import Message

from daskd.model.access import Right
from daskd.model.cluster import Cluster, Phase
from daskd.model.errors import InvalidArgument, Problem
from daskd.security.authorize import Caller, may_see, rights_on
from daskd.store import ClusterQuery
from daskd_api.v1 import cluster_pb2 as pb

from .marks import Mark, read_mark, write_mark
from .services import Services
from .translate import cluster_message, event_message

_KIND = "events"
_MOST_PAGE_BYTES = 2 << 20
_CLUSTERS = (100, 1000)
_EVENTS = (1000, 10_000)


async def list_clusters(services: Services, caller: Caller, request: pb.ListClustersRequest) -> pb.ListClustersResponse:
    """A page of the clusters that the caller may see.

    Raises
    ------
    InvalidArgument
        When the size is negative, or the token is not of a listing by this filter.
    """
    query = _query(caller, request)
    page = await services.store.list(query)
    messages = _messages(caller, request, page.items)
    fitting = _fitting(messages)
    if fitting < len(messages):
        # The token of a shorter page is the store's to give.
        page = await services.store.list(replace(query, limit=fitting))
        messages = _messages(caller, request, page.items)
    return pb.ListClustersResponse(clusters=messages, next_page_token=page.next_token)


async def list_events(services: Services, uid: str, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
    """A page of a cluster's history, or (an empty uid) of the daemon's own.

    Raises
    ------
    InvalidArgument
        When the size is negative, or the token is not of this cluster's events.
    ResumeTokenExpired
        When the token is of a state that is no more.
    """
    limit = _page_size(request.page_size, *_EVENTS)
    after = _after(services, uid, request.page_token)
    messages = [event_message(event) for event in await services.store.events(uid, after=after, limit=limit)]
    shown = messages[: _fitting(messages)]
    more = len(shown) < len(messages) or len(messages) == limit
    token = write_mark(Mark(_KIND, uid, shown[-1].revision), services.store.state_id) if more else ""
    return pb.ListEventsResponse(events=shown, next_page_token=token)


def _query(caller: Caller, request: pb.ListClustersRequest) -> ClusterQuery:
    asked = request.filter
    seen = visible(caller)
    if asked.owner and (caller.sees_all or asked.owner == caller.name):
        seen = ClusterQuery(owner=asked.owner)
    return replace(
        seen,
        phases=frozenset(_phase(number) for number in asked.phases),
        name_prefix=asked.name_prefix,
        include_ended=asked.include_ended,
        limit=_page_size(request.page_size, *_CLUSTERS),
        after=request.page_token,
    )


def visible(caller: Caller) -> ClusterQuery:
    """Which clusters the caller is shown: all, or one's own and those that are shared."""
    if caller.sees_all:
        return ClusterQuery()
    return ClusterQuery(owner=caller.name, shared_with=frozenset(caller.identity.subjects))


def _phase(number: pb.Phase.ValueType) -> Phase:
    try:
        return Phase(pb.Phase.Name(number).removeprefix("PHASE_"))
    except ValueError:
        words = f"{number} is no phase: name one of {', '.join(phase.value for phase in Phase)}"
        raise _argument("filter.phases", words) from None


def _page_size(asked: int, default: int, most: int) -> int:
    if asked < 0:
        raise _argument("page_size", f"{asked} is out of range: write a number from 0 up")
    return min(asked or default, most)


def _after(services: Services, uid: str, token: str) -> int:
    if not token:
        return 0
    mark = read_mark(token, _KIND, services.store.state_id, "page_token")
    if mark.uid != uid:
        raise _argument("page_token", "it is of another cluster's events: leave it empty")
    return mark.revision


def _fitting(messages: Iterable[Message]) -> int:
    """How many fit into an answer; at least one, lest a listing never end."""
    room, count = _MOST_PAGE_BYTES, 0
    for message in messages:
        room -= message.ByteSize() + 8
        if room < 0 and count:
            break
        count += 1
    return count


def _messages(caller: Caller, request: pb.ListClustersRequest, found: Iterable[Cluster]) -> list[pb.Cluster]:
    owner = request.filter.owner
    return [shown_to(caller, c) for c in found if may_see(caller, c) and owner in ("", c.owner)]


def shown_to(caller: Caller, cluster: Cluster) -> pb.Cluster:
    """A cluster as the caller may see it: values of variables are the owner's alone."""
    may_share = Right.SHARE in rights_on(caller, cluster)
    return cluster_message(cluster, with_values=caller.owns(cluster), with_grants=may_share)


def _argument(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(words, facts={"field": field}, problems=[Problem(field, words)])
