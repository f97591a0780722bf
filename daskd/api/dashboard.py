"""Links to dashboards: through the daemon, with a login, or where the cluster itself serves them."""

from __future__ import annotations

from dataclasses import replace

from daskd.model.access import Right
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotRunning, NoDashboard
from daskd.model.event import NewEvent
from daskd.model.views import Connection
from daskd.security.authorize import Caller, resolve
from daskd.security.dashboard_logins import Link
from daskd_api.v1 import cluster_pb2 as pb

from .history import from_caller
from .services import Services
from .translate import timestamp


async def create_dashboard_link(
    services: Services, caller: Caller, request: pb.CreateDashboardLinkRequest
) -> pb.CreateDashboardLinkResponse:
    """A link by which the caller sees a cluster's dashboard.

    Raises
    ------
    ClusterNotFound, NotAllowed
        When the caller may not see the cluster.
    NoDashboard
        When it has none, or the daemon does not serve it any more.
    ClusterNotRunning
        While there is no scheduler that has one.
    """
    cluster = await resolve(services.store, caller, request.name, Right.VIEW)
    link = _link(services, caller, cluster)
    if link.expires is not None and not caller.owns(cluster):
        event = NewEvent("DASHBOARD_LINK_GIVEN", f"{caller.name} was given a link to the dashboard", caller.name)
        await services.store.update(cluster.uid, lambda now: now, events=from_caller([event], caller))
    return pb.CreateDashboardLinkResponse(link=link.url, expire_time=timestamp(link.expires))


def with_dashboard(services: Services, cluster: Cluster, connection: Connection) -> Connection:
    """The connection with the URL, for who is logged in, of a dashboard that the daemon serves."""
    if not cluster.dashboard_proxied or services.dashboards is None:
        return connection
    return replace(connection, dashboard_link=services.dashboards.plain(cluster.uid))


def _link(services: Services, caller: Caller, cluster: Cluster) -> Link:
    name, facts = cluster.name, {"cluster": cluster.name}
    if not cluster.spec.dashboard:
        raise NoDashboard(f"cluster {name!r} was made without a dashboard: make another with one", facts=facts)
    if cluster.ended is not None or cluster.stop or cluster.scheduler.started is None:
        words = cluster.message or "its scheduler is not up yet; wait until it is RUNNING"
        raise ClusterNotRunning(f"cluster {name!r} is {cluster.phase.value}: {words}", facts=facts)
    if not cluster.dashboard_proxied:
        if not cluster.scheduler.dashboard:
            words = "its scheduler says of none, and its log may say why"
            raise NoDashboard(f"cluster {name!r} has no dashboard: {words}", facts=facts)
        return Link(cluster.scheduler.dashboard)
    if services.dashboards is None:
        words = "serves no dashboards now, though it did when the cluster was made: have the administrator set `[web]`"
        raise NoDashboard(f"this daemon {words}", facts=facts)
    return services.dashboards.create(caller, cluster.uid)
