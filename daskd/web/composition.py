"""What serves dashboards, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from daskd.config import Access, Config
from daskd.control.link import Dial
from daskd.model.cluster import Cluster
from daskd.model.listen import parse_listener
from daskd.security.dashboard_logins import DashboardLinks, DashboardLogins
from daskd.security.listeners import browser_context, check_listeners
from daskd.security.sockets import socket_mode
from daskd.store import Store

from .dashboards import Dashboards
from .gate import Gate
from .listening import DashboardListener


@dataclass(frozen=True, slots=True)
class Web:
    """A place for browsers that is taken; it takes no connection yet. Made by `open_web`."""

    listener: DashboardListener
    logins: DashboardLogins
    links: DashboardLinks

    async def serve(self, store: Store, way_to: Callable[[Cluster], Dial | None]) -> None:
        """Begin to serve the dashboards of the clusters of that store."""
        await self.listener.serve(Dashboards(Gate(store, self.logins), self.logins, self.links, way_to))


async def open_web(listen: str, config: Config, store: Store, access: Callable[[], Access], daemon_uid: int) -> Web:
    """Take the place where browsers will see dashboards.

    Parameters
    ----------
    listen
        `web.listen`.
    access
        Who is more than a user, as the configuration has it at that time.

    Raises
    ------
    InvalidConfig
        When a TCP listener lacks what it needs to be safe.
    StateUnusable
        When the place can't be had.
    """
    address = parse_listener(listen)
    check_listeners([address], config.tls)
    tls = await asyncio.to_thread(browser_context, config.tls) if address.socket is None else None
    listener = DashboardListener(address, tls, socket_mode(daemon_uid))
    base = await listener.bind()
    logins = DashboardLogins(store, access, time.time, config.web.session)
    return Web(listener, logins, DashboardLinks(config.web.public_url or base, logins))
