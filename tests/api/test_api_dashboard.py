"""Links to dashboards: who is given one, to what, and what is told where there is none."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import grpc
import pytest
from api_harness import OTHER_UID, Api, refused

from daskd.model.access import Grant, Right
from daskd.model.cluster import Cluster, Phase, Scheduler
from daskd.security.dashboard_logins import DashboardLinks, DashboardLogins
from daskd_api.v1 import cluster_pb2 as pb

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
BASE = "https://dask.example.org"


def served(api: Api) -> DashboardLogins:
    """Have the daemon serve dashboards from now on."""
    logins = DashboardLogins(api.store, lambda: api.services.config.access, time.time, 60.0)
    api.services.dashboards = DashboardLinks(BASE, logins)
    return logins


async def create(api: Api, **spec: bool) -> str:
    """Make a cluster "etl"; answers with its uid."""
    request = pb.CreateClusterRequest(name="etl", spec=pb.ClusterSpec(**spec))
    return str((await api.clusters.CreateCluster(request, metadata=api.auth)).cluster.uid)


async def run(api: Api, uid: str, dashboard: str = "") -> None:
    """Let its scheduler run, and serve its dashboard there."""

    def running(cluster: Cluster) -> Cluster:
        return replace(cluster, phase=Phase.RUNNING, scheduler=Scheduler(started=1.0, dashboard=dashboard))

    await api.store.update(uid, running)


def link(api: Api, name: str, auth: object = None) -> object:
    """The call for a link."""
    return api.clusters.CreateDashboardLink(pb.CreateDashboardLinkRequest(name=name), metadata=auth or api.auth)


async def test_a_served_dashboards_link_logs_the_caller_in(api: Api) -> None:
    """The link holds a code of the caller's for that cluster, good for a minute; the connection holds the plain URL."""
    logins = served(api)
    uid = await create(api)
    await run(api, uid)
    answer = await link(api, "etl")
    begin, _, code = answer.link.partition("?code=")
    assert begin == f"{BASE}/clusters/{uid}/daskd-login"
    assert 0 < answer.expire_time.seconds - time.time() <= 60
    visit = await logins.visit(logins.open(code, uid))
    assert visit is not None
    assert visit.caller.identity.uid == api.services.daemon_uid
    connection = await api.clusters.GetConnection(pb.GetConnectionRequest(name="etl"), metadata=api.auth)
    assert connection.dashboard_link == f"{BASE}/clusters/{uid}/status"


@needs_root
async def test_who_may_view_is_given_a_link_and_the_history_tells(
    api: Api, theirs: tuple[tuple[str, str], ...]
) -> None:
    """A grant to view is enough; that somebody else than the owner has a link is an event."""
    served(api)
    uid = await create(api)
    await run(api, uid)
    grant = Grant("nobody", Right.VIEW, OTHER_UID)
    await api.store.update(uid, lambda now: replace(now, grants=(grant,)))
    assert (await link(api, uid, theirs)).link.startswith(BASE)
    events = await api.clusters.ListEvents(pb.ListEventsRequest(name="etl"), metadata=api.auth)
    assert ("DASHBOARD_LINK_GIVEN", "nobody") in [(event.type, event.actor) for event in events.events]


@needs_root
async def test_other_users_may_have_dashboards_where_they_are_served(
    api: Api, theirs: tuple[tuple[str, str], ...]
) -> None:
    """What is refused without a web server is granted with one, and never on loopback; unless a profile opens it."""
    request = pb.CreateClusterRequest(name="etl", spec=pb.ClusterSpec(dashboard=True))
    assert (await refused(api.clusters.CreateCluster(request, metadata=theirs))).reason == "INVALID_SPEC"
    served(api)
    made = await api.clusters.CreateCluster(request, metadata=theirs)
    record = await api.store.get(made.cluster.uid)
    assert record is not None
    assert (record.spec.dashboard, record.dashboard_proxied) == (True, True)
    assert record.dashboard_prefix == f"/clusters/{record.uid}"


async def test_a_dashboard_on_loopback_needs_no_login(api: Api) -> None:
    """A cluster that was made before the daemon served dashboards keeps its own; the link is that, for good."""
    uid = await create(api)
    await run(api, uid, "http://127.0.0.1:1")
    served(api)
    answer = await link(api, "etl")
    assert (answer.link, answer.HasField("expire_time")) == ("http://127.0.0.1:1", False)


@pytest.mark.parametrize("was_served", [True, False])
async def test_where_there_is_none_the_words_say_why(api: Api, was_served: bool) -> None:
    """A cluster without a dashboard, one that does not run, one whose daemon serves none any more: each is told so."""
    if was_served:
        served(api)
    uid = await create(api)
    assert (await refused(link(api, uid))).reason == "CLUSTER_NOT_RUNNING"
    await run(api, uid, "" if was_served else "http://127.0.0.1:1")
    if was_served:
        api.services.dashboards = None
        told = await refused(link(api, uid))
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_DASHBOARD")
        assert "[web]" in told.words
    request = pb.CreateClusterRequest(name="bare", spec=pb.ClusterSpec(dashboard=False))
    bare = (await api.clusters.CreateCluster(request, metadata=api.auth)).cluster.uid
    assert (await refused(link(api, bare))).reason == "NO_DASHBOARD"
