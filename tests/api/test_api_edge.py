"""The edge: tokens, request ids, sizes, mistakes of the daemon's own, health, the stop."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from typing import Any

import grpc
import pytest
import structlog
from api_harness import USER, refusal, refused, start_api, until
from google.protobuf.internal.encoder import _VarintBytes
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from daskd.api import edge
from daskd.api.server import build_server
from daskd.model.errors import StateUnusable
from daskd_api.v1 import cluster_pb2 as pb
from daskd_api.v1 import daemon_pb2

INFO = daemon_pb2.GetDaemonInfoRequest()


async def create(api: Any, name: str = "etl") -> pb.Cluster:
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name), metadata=api.auth)).cluster


@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Bearer x"),), (("authorization", "Basic x"),), (("authorization", ""),)]
)
async def test_a_call_without_a_good_token_is_refused(api, metadata):
    """Nobody is served whom the token exchange does not know, and the words say where tokens come from."""
    told = await refused(api.daemon.GetDaemonInfo(INFO, metadata=metadata))

    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert ".auth" in told.words


async def test_a_stream_without_a_token_is_refused(api):
    """Streams are authenticated like any call."""
    told = await refused(api.clusters.WatchClusters(pb.WatchClustersRequest()).read())

    assert told.reason == "UNAUTHENTICATED"


async def test_an_expired_token_is_refused(directory):
    """A token is good for its time and no longer."""
    now = [1_000_000.0]
    api = await start_api(directory, clock=lambda: now[0])
    try:
        await api.daemon.GetDaemonInfo(INFO, metadata=api.auth)
        now[0] += 601
        assert (await refused(api.daemon.GetDaemonInfo(INFO, metadata=api.auth))).reason == "UNAUTHENTICATED"
    finally:
        await api.close()


@pytest.mark.parametrize("given", ["abc-1", "", "a b", "x" * 65])
async def test_every_answer_has_a_request_id(api, given):
    """The caller's id comes back; in place of none or a bad one, a new one."""
    call = api.daemon.GetDaemonInfo(INFO, metadata=(*api.auth, ("x-request-id", given)))
    await call

    told = dict(await call.trailing_metadata())["x-request-id"]
    assert told == "abc-1" if given == "abc-1" else len(told) == 32


async def test_refused_and_changing_calls_are_logged_with_who_and_where(api):
    """A line has the caller, from where, the call, the request id; never what the user wrote into a field."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await create(api)
        metadata = (*api.auth, ("x-request-id", "q1"))
        spec = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(memory_limit="s3cret")])
        await refused(api.clusters.CreateCluster(pb.CreateClusterRequest(spec=spec), metadata=metadata))

    made, no = lines
    assert (made["event"], made["cluster"], made["user"], made["peer"]) == (
        "cluster created", "etl", USER, "unix socket",
    )  # fmt: skip
    assert (no["event"], no["reason"], no["request_id"], no["method"]) == (
        "call refused", "INVALID_SPEC", "q1", "CreateCluster",
    )  # fmt: skip
    assert "s3cret" not in str(lines)


async def test_what_a_call_starts_does_not_log_in_its_name(api):
    """A reconciler outlives the call that made its cluster: neither request id nor user stick to it."""
    await create(api)

    assert api.control.started_in == [{}]


async def test_a_mistake_of_the_daemons_is_told_without_a_traceback(api):
    """An unforeseen error is INTERNAL with an id to quote, and stands in the log once, whole."""
    await create(api)
    with structlog.testing.capture_logs() as lines:
        metadata = (*api.auth, ("x-request-id", "q7"))
        told = await refused(api.clusters.ListHeldWork(pb.ListHeldWorkRequest(name="etl"), metadata=metadata))

    assert (told.code, told.reason, told.facts) == (grpc.StatusCode.INTERNAL, "INTERNAL", {"request_id": "q7"})
    assert "q7" in told.words
    assert "a mistake of the daemon's" not in told.words
    assert [(line["event"], line["log_level"]) for line in lines] == [("call failed", "error")]
    assert lines[0]["exc_info"]


async def test_one_user_can_not_take_all_calls(api, monkeypatch):
    """Beyond a bound of calls under way a user's next one is refused; ended ones make room again."""
    monkeypatch.setattr(edge, "_MOST_CALLS_PER_USER", 2)
    watches = [api.clusters.WatchClusters(pb.WatchClustersRequest(), metadata=api.auth) for _ in range(2)]
    for watch in watches:
        await watch.read()

    told = await refused(api.daemon.GetDaemonInfo(INFO, metadata=api.auth))
    assert (told.reason, told.facts) == ("LIMIT_EXCEEDED", {"used": "2", "allowed": "2"})

    for watch in watches:
        watch.cancel()
    await until_served(api)


async def until_served(api: Any) -> None:
    """Call until the daemon takes it."""
    for _ in range(2000):
        if await is_served(api):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the daemon never took the call")


async def is_served(api: Any) -> bool:
    try:
        await api.daemon.GetDaemonInfo(INFO, metadata=api.auth)
    except grpc.aio.AioRpcError:
        return False
    return True


def from_later(message: Any, number: int = 4711) -> Any:
    """The message as a later release's client says it: with a field more."""
    return type(message).FromString(message.SerializeToString() + _VarintBytes(number << 3) + b"\x01")


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (from_later(pb.CreateClusterRequest(name="etl")), "field 4711 of CreateClusterRequest"),
        (pb.CreateClusterRequest(spec=from_later(pb.ClusterSpec())), "field 4711 of ClusterSpec"),
        (pb.CreateClusterRequest(spec={"groups": [from_later(pb.WorkerGroupSpec())]}), "field 4711 of WorkerGroupSpec"),
    ],
)
async def test_what_a_newer_client_asks_for_is_not_passed_over(api, request_, where):
    """A field that this release does not know is refused by name, at any depth, and no other cluster is made."""
    told = await refused(api.clusters.CreateCluster(request_, metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_FIELDS")
    assert where in told.words
    assert "upgrade the daemon" in told.words
    listed = await api.clusters.ListClusters(pb.ListClustersRequest(), metadata=api.auth)
    assert list(listed.clusters) == []


async def test_a_stream_does_not_pass_over_what_is_new_either(api):
    """A watch whose filter this release does not know is refused, not served without it."""
    told = await refused(api.clusters.WatchClusters(from_later(pb.WatchClustersRequest()), metadata=api.auth).read())

    assert told.reason == "UNKNOWN_FIELDS"


async def test_a_newer_client_learns_whom_it_talks_to(api):
    """The call that tells the daemon's release is served whatever it says."""
    answer = await api.daemon.GetDaemonInfo(from_later(INFO), metadata=api.auth)

    assert answer.version


async def test_a_request_over_the_size_is_refused_by_name(serve):
    """The refusal says how large it was, what is allowed, and which setting it is."""
    api = await serve('[daemon]\nmax_message_bytes = "64 KiB"')
    request = pb.CreateClusterRequest(spec=pb.ClusterSpec(environment={"A": "x" * 70_000}))

    told = await refused(api.clusters.CreateCluster(request, metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert told.facts["allowed"] == "65536"
    assert "max_message_bytes" in told.words


async def test_a_request_far_over_the_size_is_cut_off(serve):
    """What is not even read is refused by gRPC itself, and the server goes on."""
    api = await serve('[daemon]\nmax_message_bytes = "64 KiB"')
    request = pb.CreateClusterRequest(spec=pb.ClusterSpec(environment={"A": "x" * 200_000}))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.clusters.CreateCluster(request, metadata=api.auth)

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await create(api)


async def test_bytes_that_are_no_message_are_refused_in_words(api):
    """Garbage in place of a request is INVALID_ARGUMENT, not a mistake of the daemon's."""
    call = api.channel.unary_unary("/daskd_api.v1.ClusterService/GetCluster")

    told = await refused(call(b"\xff\xff\xff", metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


async def test_an_unknown_method_is_unimplemented(api):
    """A client that is newer than the daemon is told so by gRPC's own code."""
    call = api.channel.unary_unary("/daskd_api.v1.ClusterService/PaintCluster")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", metadata=api.auth)

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_open(api):
    """Whoever reaches the socket may ask whether the daemon serves."""
    stub = health_pb2_grpc.HealthStub(api.channel)

    for service in ("", "daskd_api.v1.ClusterService", "daskd_api.v1.DaemonService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(api):
    """Tools such as grpcurl find the API without its files."""
    call = reflection_pb2_grpc.ServerReflectionStub(api.channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()

    services = {service.name for service in answer.list_services_response.service}
    assert {"daskd_api.v1.ClusterService", "daskd_api.v1.DaemonService", "grpc.health.v1.Health"} <= services


async def test_a_stop_ends_streams_and_removes_the_sockets(api):
    """Watches and followed logs end with UNAVAILABLE and a reason, well within the grace; no socket stays."""
    await create(api)
    watch = api.clusters.WatchClusters(pb.WatchClustersRequest(), metadata=api.auth)
    await watch.read()
    await watch.read()
    logs = api.clusters.StreamLogs(pb.StreamLogsRequest(name="etl", follow=True), metadata=api.auth)
    await logs.read()
    await api.control.following.wait()

    await asyncio.wait_for(api.server.stop(60), 20)

    for stream in (watch, logs):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        told = refusal(caught.value)
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DAEMON_STOPPING")
    assert sorted(path.name for path in api.directory.iterdir()) == ["state"]


async def test_a_change_is_finished_when_the_caller_goes_away(api):
    """A call that is cancelled after its change was begun leaves nothing recorded but not started."""
    for i in range(20):
        call = api.clusters.CreateCluster(pb.CreateClusterRequest(name=f"c{i}"), metadata=api.auth)
        await asyncio.sleep(0.0005 * i)
        call.cancel()
    await create(api, "last")
    await api.services.settled()

    live = await api.store.live()
    await until(lambda: set(api.control.started) == {cluster.uid for cluster in live})


async def test_a_second_daemon_does_not_take_a_live_socket(api):
    """Where a daemon listens, another one is refused in words, and the first goes on."""
    second = build_server(dataclasses.replace(api.services, stopping=asyncio.Event()), [f"unix:{api.directory / 's'}"])

    with pytest.raises(StateUnusable, match="another daemon listens"):
        await second.start()

    await create(api)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's daemon serves other users")
async def test_roots_sockets_may_be_reached_by_all_users(api):
    """What root's daemon serves to whom is decided by who they are, not by the sockets' mode."""
    for name in ("s", "s.auth"):
        assert stat.S_IMODE((api.directory / name).stat().st_mode) == 0o666
