"""The proxy in the test's own loop, with a real store, before whatever answers on a unix socket."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from daskd.api.create import new_cluster
from daskd.config import parse_config
from daskd.control.desired import Bounds
from daskd.control.link import unix
from daskd.model.access import Grant, Right
from daskd.model.cluster import Cluster, Scheduler
from daskd.model.event import NewEvent
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec
from daskd.security.authorize import Caller
from daskd.security.peer import identity_of
from daskd.store import SqliteStore
from daskd.web.composition import Web, open_web

from .browsing import Browser, Page

MACHINE = "0123456789abcdef0123456789abcdef"
OWNER_UID = os.geteuid()
OTHER = Identity("nobody", 65534, 65534, "/")
CREATED = NewEvent("CREATED", "created", actor="ann", facts={})


PLAIN = """
[web]
listen = "127.0.0.1:0"
[tls]
loopback_without_tls_though_others_could_pose_as_daskd = true
"""
"""What lets dashboards be served here without a certificate."""


@dataclass
class Proxied:
    """A proxy, and one cluster whose dashboard's socket is at `path`."""

    web: Web
    store: SqliteStore
    cluster: Cluster
    path: Path

    @property
    def prefix(self) -> str:
        """The path of the cluster's pages."""
        return f"/clusters/{self.cluster.uid}"

    def caller(self, who: Identity) -> Caller:
        """That user, as calls bring it."""
        return Caller(who, "here", daemon_uid=-1)

    def browser(self, who: Identity | None = None, cluster: str = "") -> Browser:
        """A browser in which that user (None: the owner) is logged in for a cluster (by default this one)."""
        uid = cluster or self.cluster.uid
        code, _ = self.web.logins.code(self.caller(who or identity_of(OWNER_UID)), uid)
        browser = Browser(self.web.links.origin(uid))
        browser.cookies["daskd-dashboard"] = (self.web.logins.open(code, uid), "/")
        return browser

    async def get(self, path: str, browser: Browser | None = None, **options: object) -> Page:
        """The answer to a request for a page of the cluster, while the loop goes on."""
        asking: Callable[..., Page] = (browser or self.browser()).get
        return await asyncio.to_thread(asking, self.prefix + path, **options)

    async def grant(self, *grants: Grant) -> None:
        """Share the cluster with these, and nobody else."""
        await self.store.update(self.cluster.uid, lambda now: replace(now, grants=grants))


VIEWER = Grant(OTHER.name, Right.VIEW, OTHER.uid)


@asynccontextmanager
async def a_proxy(folder: Path, owner_uid: int = OWNER_UID, toml: str = PLAIN) -> AsyncIterator[Proxied]:
    """A proxy by that configuration, with a cluster of that user's."""
    config = parse_config(toml, folder / "daskd.toml")
    assert config.web.listen is not None
    store = await SqliteStore.open(folder / "state", machine_id=MACHINE, clock=time.time)
    owner = Identity("ann", owner_uid, owner_uid, "/")
    made = new_cluster("etl", ClusterSpec(), owner, Bounds(9, 9, 9), 1.0, proxied=True)
    made = replace(made, scheduler=Scheduler(started=1.0))
    cluster, _ = await store.create(made, request_id="", event=CREATED)
    path = folder / "http"
    try:
        web = await open_web(config.web.listen, config, store, lambda: config.access, -1)
        await web.serve(store, lambda _: unix(path, owner_uid))
        try:
            yield Proxied(web, store, cluster, path)
        finally:
            await web.listener.stop()
    finally:
        await store.close()
