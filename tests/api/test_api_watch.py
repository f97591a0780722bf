"""WatchClusters: no change missed, none told twice, across reconnects and restarts; slow readers cost little."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Any

import grpc
import pytest
from api_harness import refused, take, until

from daskd.api import watch as watch_module
from daskd.model.cluster import Phase
from daskd.model.event import NewEvent
from daskd_api.v1 import cluster_pb2 as pb

EXISTING, SYNCED, CHANGED = pb.WATCH_KIND_EXISTING, pb.WATCH_KIND_SYNCED, pb.WATCH_KIND_CHANGED


async def create(api: Any, name: str = "etl") -> pb.Cluster:
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name), metadata=api.auth)).cluster


def watch(api: Any, name: str = "", token: str = "", events: bool = True) -> Any:
    request = pb.WatchClustersRequest(name=name, resume_token=token, include_events=events)
    return api.clusters.WatchClusters(request, metadata=api.auth)


async def add_event(api: Any, uid: str, number: int) -> None:
    await api.store.update(uid, lambda now: now, events=[NewEvent("X", str(number))])


async def test_what_exists_comes_first_then_what_changes(api):
    """EXISTING for each cluster, one SYNCED, then a CHANGED with its event for each change."""
    first, second = await create(api, "a"), await create(api, "b")
    stream = watch(api)
    opening = await take(stream, 3)
    await add_event(api, first.uid, 1)
    third = await create(api, "c")
    changes = await take(stream, 2)

    assert [answer.kind for answer in opening] == [EXISTING, EXISTING, SYNCED]
    assert {answer.cluster.uid for answer in opening[:2]} == {first.uid, second.uid}
    assert [answer.kind for answer in changes] == [CHANGED, CHANGED]
    assert [(answer.cluster.uid, answer.event.type) for answer in changes] == [
        (first.uid, "X"),
        (third.uid, "CREATED"),
    ]


async def test_events_come_only_if_asked_for(api):
    """Without include_events the change is told, its event is not."""
    stream = watch(api, events=False)
    await take(stream, 1)
    await create(api)
    (change,) = await take(stream, 1)

    assert (change.kind, change.HasField("event")) == (CHANGED, False)


async def test_a_watch_of_one_cluster_tells_of_no_other(api):
    """A name narrows the watch to that cluster, for good."""
    cluster = await create(api, "a")
    other = await create(api, "b")
    stream = watch(api, "a")
    await take(stream, 2)
    await add_event(api, other.uid, 1)
    await add_event(api, cluster.uid, 2)
    (change,) = await take(stream, 1)

    assert (change.cluster.name, change.event.message) == ("a", "2")


@pytest.mark.parametrize("restart", [False, True])
async def test_a_resumed_watch_misses_nothing_and_repeats_nothing(serve, restart):
    """Cut off anywhere and resumed by the last token, also over restarts, a watch tells each event once, in order."""
    api = await serve()
    cluster = await create(api)
    stream = watch(api)
    token = (await take(stream, 2))[-1].resume_token
    told: list[str] = []
    for round_ in range(4):
        for number in range(5):
            await add_event(api, cluster.uid, round_ * 5 + number)
        for answer in await take(stream, 3):
            told.append(answer.event.message)
            token = answer.resume_token
        stream.cancel()
        if restart:
            api = await serve()
        stream = watch(api, token=token)
    told += [answer.event.message for answer in await take(stream, 8)]

    assert told == [str(number) for number in range(20)]


async def test_changes_made_while_a_watch_opens_are_told(api):
    """Each change after what the listing showed is told, however it falls between listing and waiting."""
    cluster = await create(api)
    stream = watch(api)
    writing = asyncio.gather(*(add_event(api, cluster.uid, number) for number in range(50)))
    existing, _synced = await take(stream, 2)
    await writing
    await add_event(api, cluster.uid, 50)
    after = [event for event in await api.store.events(cluster.uid) if event.revision > existing.cluster.revision]
    told: list[int] = []
    while not told or told[-1] < api.store.revision:
        told += [answer.event.revision for answer in await take(stream, 1)]

    assert set(told) >= {event.revision for event in after}
    assert told == sorted(set(told))


@pytest.mark.parametrize(
    "token",
    ["garbage", "AAAA", "é", "x" * 5000, base64.urlsafe_b64encode(b"\0" * 6 + b"watch1:aaaaa::5").decode()],
)
async def test_a_token_that_is_none_is_refused(api, token):
    """Garbage, and a token that somebody made, are INVALID_ARGUMENT."""
    told = await refused(watch(api, token=token).read())

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert "resume_token" in told.words


async def test_a_page_token_is_no_resume_token(api):
    """A mark of something else is refused."""
    await create(api)
    page = await api.clusters.ListEvents(pb.ListEventsRequest(name="etl", page_size=1), metadata=api.auth)

    assert (await refused(watch(api, token=page.next_page_token).read())).reason == "INVALID_ARGUMENT"


async def test_a_token_of_another_cluster_is_refused(api):
    """A watch is resumed for what it was opened for."""
    await create(api, "a")
    await create(api, "b")
    token = (await take(watch(api, "a"), 2))[-1].resume_token

    assert (await refused(watch(api, "b", token).read())).reason == "INVALID_ARGUMENT"
    assert (await refused(watch(api, "", token).read())).reason == "INVALID_ARGUMENT"


async def test_a_watch_follows_its_cluster_and_not_its_name(api):
    """Resumed after the cluster ended and its name was given anew, a watch goes on with the one that it was of."""
    cluster = await create(api)
    token = (await take(watch(api, "etl"), 2))[-1].resume_token
    await _end(api, cluster.uid)
    await create(api)
    (change,) = await take(watch(api, "etl", token), 1)

    assert (change.cluster.uid, change.cluster.HasField("end_time")) == (cluster.uid, True)


async def test_a_token_that_is_too_old_says_begin_anew(api):
    """Where the changes after it are pruned, the token is OUT_OF_RANGE."""
    cluster = await create(api)
    token = (await take(watch(api), 2))[-1].resume_token
    for number in range(5):
        await add_event(api, cluster.uid, number)
    await api.store.prune(ended_before=0, events_before=0, keep_events=1)

    told = await refused(watch(api, token=token).read())

    assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_a_token_of_another_state_says_begin_anew(api, monkeypatch):
    """A client that waited while the state was lost learns to list again, instead of failing for ever."""
    monkeypatch.setattr(type(api.store), "state_id", "zzzzz")
    token = (await take(watch(api), 1))[-1].resume_token
    monkeypatch.undo()

    assert (await refused(watch(api, token=token).read())).reason == "RESUME_TOKEN_EXPIRED"


async def test_a_slow_reader_is_not_read_ahead_for(api, monkeypatch):
    """The daemon stops reading the store when a client does not take what it is sent, and goes on when it does."""
    cluster = await create(api)
    read = []
    changes = type(api.store).changes

    async def counted(self: Any, after: int, limit: int = 1000) -> Any:
        found = await changes(self, after, limit)
        read.append(len(found))
        return found

    monkeypatch.setattr(type(api.store), "changes", counted)
    stream = watch(api)
    await take(stream, 2)
    total = 1500
    filler = "x" * 4000
    for number in range(total):
        await api.store.update(cluster.uid, lambda now: now, events=[NewEvent("X", f"{number} {filler}")])
    await until(lambda: bool(read) and sum(read) > 0)
    quiet = await _quiet(lambda: sum(read))
    told = [answer.event.message.split()[0] for answer in await take(stream, total)]

    assert quiet < total
    assert told == [str(number) for number in range(total)]
    assert max(read) <= watch_module._PAGE


async def _quiet(value: Any) -> int:
    """The value once it has not grown for a while."""
    last, same = -1, 0
    while same < 20:
        now = value()
        last, same = (now, same + 1) if now == last else (now, 0)
        await asyncio.sleep(0.01)
    return last


async def _end(api: Any, uid: str) -> None:
    await api.store.update(uid, lambda now: dataclasses.replace(now, ended=1.0, phase=Phase.STOPPED))
