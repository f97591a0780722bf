"""Another user of the machine: sees nothing of ours, learns nothing from errors, has clusters of its own."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc
import pytest
from api_harness import OTHER_UID, refused, take

from daskd.api.create import new_cluster
from daskd.control.desired import Bounds
from daskd.model.event import NewEvent
from daskd.model.spec import ClusterSpec
from daskd.security.peer import identity_of
from daskd_api.v1 import cluster_pb2 as pb
from daskd_api.v1 import daemon_pb2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def create(api: Any, name: str = "etl") -> pb.Cluster:
    spec = pb.ClusterSpec(environment={"TOKEN": "s3cret"})
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name, spec=spec), metadata=api.auth)).cluster


async def test_the_kernel_says_who_it_is(api, theirs):
    """The token exchange gives each user a token of their own."""
    info = await api.daemon.GetDaemonInfo(daemon_pb2.GetDaemonInfoRequest(), metadata=theirs)

    assert info.user == "nobody"


async def test_lists_show_nothing_of_ours(api, theirs):
    """Neither a plain list nor one by owner, nor ended ones, tells that we have clusters."""
    await create(api)

    for asked in (pb.ClusterFilter(), pb.ClusterFilter(owner="root"), pb.ClusterFilter(include_ended=True)):
        answer = await api.clusters.ListClusters(pb.ListClustersRequest(filter=asked), metadata=theirs)
        assert (len(answer.clusters), answer.next_page_token) == (0, "")


async def test_every_call_answers_as_if_there_were_none(api, theirs):
    """By name, owner/name and uid, what is ours and what never was are told apart by nothing but the name itself."""
    cluster = await create(api)
    stub = api.clusters
    calls = {
        "get": lambda name: stub.GetCluster(pb.GetClusterRequest(name=name), metadata=theirs),
        "scale": lambda name: stub.ScaleCluster(pb.ScaleClusterRequest(name=name, n_workers=1), metadata=theirs),
        "adapt": lambda name: stub.AdaptCluster(pb.AdaptClusterRequest(name=name), metadata=theirs),
        "delete": lambda name: stub.DeleteCluster(pb.DeleteClusterRequest(name=name), metadata=theirs),
        "watch": lambda name: stub.WatchClusters(pb.WatchClustersRequest(name=name), metadata=theirs).read(),
        "workers": lambda name: stub.ListWorkers(pb.ListWorkersRequest(name=name), metadata=theirs),
        "logs": lambda name: stub.StreamLogs(pb.StreamLogsRequest(name=name), metadata=theirs).read(),
        "events": lambda name: stub.ListEvents(pb.ListEventsRequest(name=name), metadata=theirs),
        "connection": lambda name: stub.GetConnection(pb.GetConnectionRequest(name=name), metadata=theirs),
        "dashboard": lambda name: stub.CreateDashboardLink(pb.CreateDashboardLinkRequest(name=name), metadata=theirs),
        "held": lambda name: stub.ListHeldWork(pb.ListHeldWorkRequest(name=name), metadata=theirs),
        "discard": lambda name: stub.DiscardHeldWork(pb.DiscardHeldWorkRequest(name=name), metadata=theirs),
    }
    never_was = await refused(calls["get"]("nix"))
    for call in calls.values():
        for name in ("etl", "root/etl", cluster.uid):
            told = await refused(call(name))
            assert told.code == grpc.StatusCode.NOT_FOUND
            assert told.words.replace(repr(name), "NAME") == never_was.words.replace("'nix'", "NAME")
    assert (await api.store.get(cluster.uid)).stop == ""


async def test_a_watch_tells_nothing_of_ours(api, theirs):
    """Changes of our clusters pass another user's watch by: of two marks nothing lies between."""
    await create(api, "a")
    stream = api.clusters.WatchClusters(pb.WatchClustersRequest(include_events=True), metadata=theirs)
    (first,) = await take(stream, 1)
    await create(api, "b")
    stream.cancel()
    again = api.clusters.WatchClusters(
        pb.WatchClustersRequest(include_events=True, resume_token=first.resume_token), metadata=theirs
    )
    await create(api, "c")
    stopping = asyncio.ensure_future(api.server.stop(20))
    told = await refused(again.read())  # the first that it is told is the daemon's stop
    await stopping

    assert first.kind == pb.WATCH_KIND_SYNCED
    assert told.reason == "DAEMON_STOPPING"


async def test_a_resume_token_of_ours_is_no_key(api, theirs):
    """Somebody else's resume token opens nothing."""
    await create(api)
    stream = api.clusters.WatchClusters(pb.WatchClustersRequest(name="etl"), metadata=api.auth)
    token = (await take(stream, 2))[-1].resume_token

    request = pb.WatchClustersRequest(name="etl", resume_token=token)
    told = await refused(api.clusters.WatchClusters(request, metadata=theirs).read())

    assert told.reason == "CLUSTER_NOT_FOUND"


async def test_they_create_clusters_of_their_own(api, theirs):
    """What another user makes is that user's, is not ours by name, and has no dashboard that everybody could read."""
    made = (await api.clusters.CreateCluster(pb.CreateClusterRequest(name="etl"), metadata=theirs)).cluster

    record = await api.store.get(made.uid)
    assert (record.owner, record.owner_uid, record.spec.dashboard) == ("nobody", OTHER_UID, False)
    assert (await refused(api.clusters.GetCluster(pb.GetClusterRequest(name="etl"), metadata=api.auth))).reason


async def test_a_dashboard_that_everybody_could_read_is_refused(api, theirs):
    """Who asks for one in words is told why there is none."""
    spec = pb.ClusterSpec(dashboard=True)

    told = await refused(api.clusters.CreateCluster(pb.CreateClusterRequest(name="etl", spec=spec), metadata=theirs))

    assert (told.reason, list(told.fields)) == ("INVALID_SPEC", ["dashboard"])
    assert "dashboard_open_to_every_local_user" in told.words


@pytest.mark.parametrize("validate_only", [False, True])
async def test_what_cant_run_as_its_owner_is_refused(api, theirs, validate_only):
    """The driver's words say why, and nothing is recorded."""
    api.control.unusable.add(OTHER_UID)
    request = pb.CreateClusterRequest(name="etl", validate_only=validate_only)

    told = await refused(api.clusters.CreateCluster(request, metadata=theirs))

    assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    assert "create it" in told.words
    assert await api.store.count_live(None) == 0


async def test_an_administrator_sees_names_of_variables_alone(api, theirs):
    """Root reaches a user's cluster as owner/name, and sees no value of its environment."""
    spec = ClusterSpec(environment={"TOKEN": "s3cret"})
    record = new_cluster("etl", spec, identity_of(OTHER_UID), Bounds(9, 9, 9), 1.0)
    await api.store.create(record, request_id="", event=NewEvent("CREATED", "x"))

    mine = await api.clusters.GetCluster(pb.GetClusterRequest(name="nobody/etl"), metadata=api.auth)
    own = await api.clusters.GetCluster(pb.GetClusterRequest(name="etl"), metadata=theirs)

    assert dict(mine.cluster.spec.environment) == {"TOKEN": ""}
    assert dict(own.cluster.spec.environment) == {"TOKEN": "s3cret"}
