"""Changing calls and refused calls are in the history, with who and from where."""

from __future__ import annotations

import os

import pytest
from api_harness import refused

from daskd.security.refusals import BURST
from daskd_api.v1 import cluster_pb2 as pb

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def create(api):
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name="etl"), metadata=api.auth)).cluster


async def history(api, name="etl"):
    request = pb.ListEventsRequest(name=name)
    return list((await api.clusters.ListEvents(request, metadata=api.auth)).events)


async def test_changes_tell_who_asked_and_from_where(api):
    """Creating, scaling, discarding, deleting: each with its actor and its place."""
    await create(api)
    await api.clusters.ScaleCluster(pb.ScaleClusterRequest(name="etl", n_workers=2), metadata=api.auth)
    await api.clusters.DiscardHeldWork(pb.DiscardHeldWorkRequest(name="etl"), metadata=api.auth)
    await api.clusters.DeleteCluster(pb.DeleteClusterRequest(name="etl"), metadata=api.auth)

    events = await history(api)

    assert [event.type for event in events] == ["CREATED", "SCALED", "HELD_WORK_DISCARDED", "DELETE_REQUESTED"]
    assert {(event.actor, event.facts["from"]) for event in events} == {(events[0].owner, "unix socket")}


@needs_root
async def test_a_refused_call_is_in_the_clusters_history(api, theirs):
    """Its owner sees who tried what, although who tried was told that there is no such cluster."""
    cluster = await create(api)
    for name in (cluster.uid, "root/etl"):
        told = await refused(api.clusters.GetConnection(pb.GetConnectionRequest(name=name), metadata=theirs))
        assert told.reason == "CLUSTER_NOT_FOUND"

    tried = (await history(api))[1:]

    assert [(event.type, event.actor) for event in tried] == [("CALL_REFUSED", "nobody")] * 2
    facts = {"method": "GetConnection", "reason": "CLUSTER_NOT_FOUND", "from": "unix socket"}
    assert dict(tried[0].facts) == facts


@needs_root
async def test_a_refused_call_about_no_cluster_is_in_the_daemons_history(api, theirs):
    """Administrators read it without a name; for others that is no history at all."""
    api.control.unusable.add(65534)
    await refused(api.clusters.CreateCluster(pb.CreateClusterRequest(name="x"), metadata=theirs))
    await refused(api.clusters.ListClusters(pb.ListClustersRequest(), metadata=(("authorization", "Bearer x"),)))

    told = await history(api, "")

    assert [(event.actor, event.facts["method"], event.facts["reason"]) for event in told] == [
        ("nobody", "CreateCluster", "NOT_ALLOWED"),
        ("(unknown)", "ListClusters", "UNAUTHENTICATED"),
    ]
    assert (
        await refused(api.clusters.ListEvents(pb.ListEventsRequest(), metadata=theirs))
    ).reason == "INVALID_ARGUMENT"


async def test_what_is_merely_mistaken_is_not_told(api):
    """A misspelt name is nobody's attempt at anything."""
    await create(api)
    await refused(api.clusters.GetCluster(pb.GetClusterRequest(name="elt"), metadata=api.auth))
    await refused(api.clusters.ScaleCluster(pb.ScaleClusterRequest(name="etl", n_workers=-1), metadata=api.auth))

    assert [event.type for event in await history(api)] == ["CREATED"]
    assert await history(api, "") == []


@needs_root
async def test_a_flood_of_refused_calls_does_not_flood_the_history(api, theirs):
    """So many are told, and no more."""
    cluster = await create(api)
    for _ in range(BURST + 5):
        await refused(api.clusters.GetCluster(pb.GetClusterRequest(name=cluster.uid), metadata=theirs))

    assert len(await history(api)) == 1 + BURST
