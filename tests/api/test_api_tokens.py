"""Tokens that last, and TCP: who calls from elsewhere, and what that call may."""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from api_harness import USER, refused
from google.protobuf.duration_pb2 import Duration
from tls_files import Authority

from daskd_api.v1 import cluster_pb2 as pb
from daskd_api.v1 import cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc
from daskd_api.v1 import token_pb2 as tokens

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
INFO = daemon_pb2.GetDaemonInfoRequest()


def bearer(secret):
    return (("authorization", f"Bearer {secret}"),)


async def create(api, name):
    return (await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name), metadata=api.auth)).cluster


async def make(api, auth=None, **asked):
    return await api.tokens.CreateToken(tokens.CreateTokenRequest(**asked), metadata=auth or api.auth)


async def test_a_token_calls_as_its_maker(api):
    """It is the user, and no more than a user, until it is revoked."""
    await create(api, "etl")
    made = await make(api, description="nightly")
    mine = bearer(made.secret)

    assert (made.token.user, made.token.role, made.token.right) == (USER, "user", pb.RIGHT_MANAGE)
    assert (await api.daemon.GetDaemonInfo(INFO, metadata=mine)).user == USER
    assert (await api.clusters.GetCluster(pb.GetClusterRequest(name="etl"), metadata=mine)).cluster.name == "etl"
    listed = (await api.tokens.ListTokens(tokens.ListTokensRequest(), metadata=api.auth)).tokens
    assert list(listed) == [made.token]
    await api.tokens.RevokeToken(tokens.RevokeTokenRequest(id=made.token.id), metadata=api.auth)
    told = await refused(api.daemon.GetDaemonInfo(INFO, metadata=mine))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    again = await refused(api.tokens.RevokeToken(tokens.RevokeTokenRequest(id=made.token.id), metadata=api.auth))
    assert again.reason == "TOKEN_NOT_FOUND"


async def test_a_token_is_good_for_its_clusters_and_its_right_alone(api):
    """Other clusters are not there, more than its right is refused, and it makes no cluster and no token."""
    etl, other = await create(api, "etl"), await create(api, "other")
    mine = bearer((await make(api, right=pb.RIGHT_VIEW, clusters=["etl"])).secret)

    listed = (await api.clusters.ListClusters(pb.ListClustersRequest(), metadata=mine)).clusters
    assert [cluster.uid for cluster in listed] == [etl.uid]
    get = pb.GetClusterRequest(name=other.uid)
    assert (await refused(api.clusters.GetCluster(get, metadata=mine))).reason == "CLUSTER_NOT_FOUND"
    for call in (
        api.clusters.GetConnection(pb.GetConnectionRequest(name="etl"), metadata=mine),
        api.clusters.DeleteCluster(pb.DeleteClusterRequest(name="etl"), metadata=mine),
        api.clusters.CreateCluster(pb.CreateClusterRequest(name="new"), metadata=mine),
        api.tokens.CreateToken(tokens.CreateTokenRequest(), metadata=mine),
        api.tokens.ListTokens(tokens.ListTokensRequest(), metadata=mine),
    ):
        told = await refused(call)
        assert told.reason == "NOT_ALLOWED"
        assert "token" in told.words


async def test_a_token_expires(api):
    """At its time, to the second; and the daemon forgets it when another is made."""
    made = await make(api, lifetime=Duration(seconds=1000))
    token = (await api.store.tokens(None))[0]
    await api.store.forget_token(token.id)
    expired = replace(token, expires=api.services.clock() - 1)
    await api.store.put_token(expired, hashlib.sha256(made.secret.encode()).hexdigest())
    assert (await refused(api.daemon.GetDaemonInfo(INFO, metadata=bearer(made.secret)))).reason == "UNAUTHENTICATED"
    await make(api)
    assert token.id not in [each.id for each in await api.store.tokens(None)]


async def test_the_state_holds_no_secret(api):
    """Whoever reads the database can't call with what stands there."""
    made = await make(api)

    for file in (api.directory / "state").iterdir():
        if file.is_file():
            assert made.secret.rpartition("_")[2].encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"role": "king"}, "role"),
        ({"right": 9}, "right"),
        ({"lifetime": Duration(seconds=0)}, "lifetime"),
        ({"lifetime": Duration(seconds=400 * 86400)}, "lifetime"),
        ({"description": "a\nb"}, "description"),
        ({"clusters": ["x"] * 101}, "clusters"),
    ],
)
async def test_a_bad_token_names_its_field(api, asked, field):
    """And nothing is made."""
    told = await refused(make(api, **asked))

    assert (told.reason, list(told.fields)) == ("INVALID_ARGUMENT", [field])
    assert await api.store.tokens(None) == []


@needs_root
async def test_tokens_are_their_users_own(api, theirs):
    """Another user neither sees nor ends ours, nor makes more of himself; an administrator does both."""
    made = await make(api)
    assert not (await api.tokens.ListTokens(tokens.ListTokensRequest(), metadata=theirs)).tokens
    everybodys = tokens.ListTokensRequest(all_users=True)
    assert (await refused(api.tokens.ListTokens(everybodys, metadata=theirs))).reason == "NOT_ALLOWED"
    revoke = tokens.RevokeTokenRequest(id=made.token.id)
    assert (await refused(api.tokens.RevokeToken(revoke, metadata=theirs))).reason == "TOKEN_NOT_FOUND"
    assert (await refused(make(api, theirs, role="operator"))).reason == "NOT_ALLOWED"
    his = await make(api, theirs)
    assert len((await api.tokens.ListTokens(everybodys, metadata=api.auth)).tokens) == 2
    await api.tokens.RevokeToken(tokens.RevokeTokenRequest(id=his.token.id), metadata=api.auth)


@asynccontextmanager
async def calling(api, authority, pair=None):
    """A channel to the API's TCP listener, with or without a certificate of one's own."""
    info = await api.daemon.GetDaemonInfo(INFO, metadata=api.auth)
    address = next(each for each in info.listen_addresses if not each.startswith("unix:"))
    certificate, key = (file.read_bytes() for file in pair) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        yield channel


def tls_config(authority, *, mutual):
    certificate, key = authority.issue("daskd")
    client_ca = f'client_ca = "{authority.file}"\n' if mutual else ""
    return f'[daemon]\nlisten = ["127.0.0.1:0"]\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n{client_ca}'


async def test_over_tcp_a_token_that_lasts_says_who_calls(serve, tmp_path):
    """Without one, or with one of a unix socket's exchange, nobody is known; a change tells the address."""
    authority = Authority(tmp_path)
    api = await serve(tls_config(authority, mutual=False))
    made = await make(api)
    async with calling(api, authority) as channel:
        daemon = daemon_pb2_grpc.DaemonServiceStub(channel)
        clusters = cluster_pb2_grpc.ClusterServiceStub(channel)
        assert (await daemon.GetDaemonInfo(INFO, metadata=bearer(made.secret))).user == USER
        for metadata in ((), api.auth, bearer("daskd_x")):
            assert (await refused(daemon.GetDaemonInfo(INFO, metadata=metadata))).reason == "UNAUTHENTICATED"
        await clusters.CreateCluster(pb.CreateClusterRequest(name="etl"), metadata=bearer(made.secret))
    (created,) = (await api.clusters.ListEvents(pb.ListEventsRequest(name="etl"), metadata=api.auth)).events
    assert created.facts["from"].startswith("ipv4:127.0.0.1:")
    assert created.facts["token"] == made.token.id


async def test_with_mutual_tls_a_certificate_says_who_calls(serve, tmp_path):
    """Its common name is a user's; one that is nobody's is refused in words, and none at all by the handshake."""
    authority = Authority(tmp_path)
    api = await serve(tls_config(authority, mutual=True))
    async with calling(api, authority, authority.issue(USER)) as channel:
        assert (await daemon_pb2_grpc.DaemonServiceStub(channel).GetDaemonInfo(INFO)).user == USER
    async with calling(api, authority, authority.issue("no-such-user")) as channel:
        told = await refused(daemon_pb2_grpc.DaemonServiceStub(channel).GetDaemonInfo(INFO))
        assert told.reason == "UNAUTHENTICATED"
    made = await make(api)
    async with calling(api, authority) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon_pb2_grpc.DaemonServiceStub(channel).GetDaemonInfo(
                INFO, metadata=bearer(made.secret), timeout=20
            )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
