"""How the daemon reaches a scheduler: beside it by unix sockets, elsewhere by TLS over what its site dials."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from daskd.drivers.protocol import Site
from daskd.model.cluster import Cluster, Instance
from daskd.security.link_tls import client_context, scheduler_name
from daskd.security.vault import Vault

from .link import Dial, link_address, secured, unix


@dataclass(frozen=True, slots=True)
class Door:
    """The way to one scheduler.

    Attributes
    ----------
    where
        What tells it from the same scheduler's way elsewhere.
    link
        Dials its link.
    dashboard
        Dials the dashboard that the daemon serves; None: there is none.
    is_claimed
        It waits to be claimed.
    """

    where: str
    link: Dial
    dashboard: Dial | None
    is_claimed: bool = False


def is_changed(door: Door | None, cluster: Cluster) -> bool:
    """Whether a scheduler that was placed has said that its link is elsewhere."""
    return (
        door is not None and door.is_claimed and bool(cluster.scheduler.link) and door.where != cluster.scheduler.link
    )


async def door_of(site: Site, scheduler: Instance, cluster: Cluster, vault: Vault) -> Door | None:
    """The way to a scheduler; None while there is none yet, as for a job that waits.

    Parameters
    ----------
    site
        Where it was launched.
    """
    uid = cluster.owner_uid
    path = site.link_path(scheduler.handle)
    if path is not None:
        pages = site.dashboard_path(scheduler.handle)
        dashboard = unix(pages, uid) if pages is not None and cluster.dashboard_proxied else None
        return Door(str(path), unix(path, uid), dashboard)
    where = link_address(cluster.scheduler.link)
    if where is None:
        return None
    context = await asyncio.to_thread(client_context, await vault.credentials(cluster.uid))
    dial = secured(partial(site.dial, scheduler.handle, *where), context, scheduler_name(cluster.uid))
    return Door(cluster.scheduler.link, dial, dial if cluster.dashboard_proxied else None, is_claimed=True)
