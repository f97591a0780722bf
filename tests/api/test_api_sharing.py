"""A cluster is shared with users and groups: what each may do then, and what still not."""

from __future__ import annotations

import asyncio
import grp
import os

import grpc
import pytest
from api_harness import OTHER_UID, ask_token_as, refused, take

from daskd.api.create import new_cluster
from daskd.control import desired
from daskd.model.access import Grant, Right
from daskd.model.errors import LimitExceeded
from daskd.model.spec import ClusterSpec
from daskd.security.peer import identity_of
from daskd_api.v1 import cluster_pb2 as pb

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def create(api, name="etl"):
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name), metadata=api.auth)).cluster


async def share(api, right, who="nobody"):
    request = pb.ShareClusterRequest(name="etl", who=who, right=right)
    return (await api.clusters.ShareCluster(request, metadata=api.auth)).cluster


async def listed(api, auth, **asked):
    request = pb.ListClustersRequest(filter=pb.ClusterFilter(**asked))
    return [cluster.uid for cluster in (await api.clusters.ListClusters(request, metadata=auth)).clusters]


@pytest.mark.parametrize("who", ["nobody", f"@{grp.getgrgid(OTHER_UID).gr_name}"])
async def test_who_may_view_sees_it_and_no_more(api, theirs, who):
    """It is listed, watched and reached as owner/name; connecting, scaling, ending, sharing are refused in words."""
    cluster = await create(api)
    await create(api, "other")
    assert await listed(api, theirs) == []
    await share(api, pb.RIGHT_VIEW, who)

    assert await listed(api, theirs) == await listed(api, theirs, owner="root") == [cluster.uid]
    assert await listed(api, theirs, owner="nobody") == []
    stream = api.clusters.WatchClusters(pb.WatchClustersRequest(), metadata=theirs)
    first, second = await take(stream, 2)
    stream.cancel()
    assert (first.cluster.uid, second.kind) == (cluster.uid, pb.WATCH_KIND_SYNCED)
    seen = (await api.clusters.GetCluster(pb.GetClusterRequest(name="root/etl"), metadata=theirs)).cluster
    assert not seen.grants
    name = cluster.uid
    for call in (
        api.clusters.GetConnection(pb.GetConnectionRequest(name=name), metadata=theirs),
        api.clusters.ScaleCluster(pb.ScaleClusterRequest(name=name, n_workers=1), metadata=theirs),
        api.clusters.DeleteCluster(pb.DeleteClusterRequest(name=name), metadata=theirs),
        api.clusters.ShareCluster(pb.ShareClusterRequest(name=name, who="nobody", right=pb.RIGHT_USE), metadata=theirs),
    ):
        told = await refused(call)
        assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        assert "daskctl share" in told.words


async def test_a_right_is_replaced_and_taken_away(api, theirs):
    """To use is to connect; to manage, to scale; without a grant it is as if it were not there."""
    cluster = await create(api)
    connect = pb.GetConnectionRequest(name=cluster.uid)
    scale = pb.ScaleClusterRequest(name=cluster.uid, n_workers=1)
    await share(api, pb.RIGHT_USE)
    assert (await api.clusters.GetConnection(connect, metadata=theirs)).tls_client_key
    assert (await refused(api.clusters.ScaleCluster(scale, metadata=theirs))).reason == "NOT_ALLOWED"
    shared = await share(api, pb.RIGHT_MANAGE)
    assert [(grant.who, grant.right) for grant in shared.grants] == [("nobody", pb.RIGHT_MANAGE)]
    assert (await api.clusters.ScaleCluster(scale, metadata=theirs)).cluster.groups[0].desired == 1
    await api.clusters.UnshareCluster(pb.UnshareClusterRequest(name="etl", who="nobody"), metadata=api.auth)
    assert (await refused(api.clusters.GetConnection(connect, metadata=theirs))).reason == "CLUSTER_NOT_FOUND"
    assert await listed(api, theirs) == []


@pytest.mark.parametrize(
    ("who", "right", "field"),
    [
        ("nosuchuser", pb.RIGHT_VIEW, "who"),
        ("@nosuchgroup", pb.RIGHT_VIEW, "who"),
        ("", pb.RIGHT_VIEW, "who"),
        ("a b", pb.RIGHT_VIEW, "who"),
        ("nobody", pb.RIGHT_UNSPECIFIED, "right"),
        ("nobody", 99, "right"),
    ],
)
async def test_what_cant_be_shared_names_its_field(api, who, right, field):
    """A misspelt user is no grant that waits for somebody of that name."""
    await create(api)
    request = pb.ShareClusterRequest(name="etl", who=who, right=right)

    told = await refused(api.clusters.ShareCluster(request, metadata=api.auth))

    assert (told.reason, list(told.fields)) == ("INVALID_ARGUMENT", [field])


async def test_sharing_is_in_the_history(api):
    """Who shared it with whom, and what for, once each."""
    await create(api)
    await share(api, pb.RIGHT_USE)
    await share(api, pb.RIGHT_USE)
    await api.clusters.UnshareCluster(pb.UnshareClusterRequest(name="etl", who="nobody"), metadata=api.auth)

    events = (await api.clusters.ListEvents(pb.ListEventsRequest(name="etl"), metadata=api.auth)).events
    told = [(event.type, event.actor, event.facts.get("who", "")) for event in events]
    assert told[1:] == [("SHARED", "root", "nobody"), ("UNSHARED", "root", "nobody")]


async def test_an_operator_sees_and_ends_but_does_not_connect(serve):
    """`[access] operators` by name: everybody's clusters, and nobody's account."""
    api = await serve('[access]\noperators = ["nobody"]\n')
    cluster = await create(api)
    token = await asyncio.to_thread(ask_token_as, api.directory / "s", OTHER_UID)
    theirs = (("authorization", f"Bearer {token}"),)
    assert await listed(api, theirs) == [cluster.uid]
    connect = pb.GetConnectionRequest(name=cluster.uid)
    assert (await refused(api.clusters.GetConnection(connect, metadata=theirs))).reason == "NOT_ALLOWED"
    assert (
        await api.clusters.DeleteCluster(pb.DeleteClusterRequest(name=cluster.uid), metadata=theirs)
    ).cluster.delete_requested


def test_grants_are_bounded():
    """A cluster that is shared with a hundred is shared with a group, not with one more."""
    record = new_cluster("etl", ClusterSpec(), identity_of(OTHER_UID), desired.Bounds(9, 9, 9), 1.0)
    for number in range(desired.MOST_GRANTS):
        record = desired.shared(record, Grant(f"u{number}", Right.VIEW, number), actor="ann").cluster
    again = desired.shared(record, Grant("u1", Right.USE, 1), actor="ann").cluster
    assert len(again.grants) == desired.MOST_GRANTS
    with pytest.raises(LimitExceeded, match="100 are allowed"):
        desired.shared(record, Grant("one-more", Right.VIEW, 5000), actor="ann")
