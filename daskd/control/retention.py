"""Forgets what is kept long enough: logs, events, ended clusters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from daskd.drivers.protocol import Site
from daskd.model.cluster import Cluster
from daskd.model.errors import DaskdError
from daskd.store import ClusterQuery, Store

from .cluster_sites import drivers_of

log = structlog.get_logger(__name__)

EVERY = 3600.0
PAGE = 500


@dataclass(frozen=True, slots=True)
class Keep:
    """How long, in seconds, and how many: logs and records of ended clusters, events."""

    logs: float
    clusters: float
    events: float
    max_events: int


class Retention:
    """Looks every hour, the first time at start-up.

    Parameters
    ----------
    site_of
        A driver's site as the user of that uid.

    Attributes
    ----------
    keep
        May be changed at any time.
    """

    def __init__(self, store: Store, site_of: Callable[[str, int], Awaitable[Site]], keep: Keep) -> None:
        self._store = store
        self._site_of = site_of
        self.keep = keep
        self._forgotten: set[str] = set()

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            try:
                await self.forget(time.time())
            except (DaskdError, OSError) as error:
                log.error("what is old could not be removed; tried again in an hour", error=str(error))
            await asyncio.sleep(EVERY)

    async def forget(self, now: float) -> None:
        """Remove what is too old by now: files first, since a record that is gone tells nobody whose they are."""
        clusters_before = now - self.keep.clusters
        all_gone = await self._files(max(now - self.keep.logs, clusters_before))
        pruned = await self._store.prune(
            ended_before=clusters_before if all_gone else 0.0,
            events_before=now - self.keep.events,
            keep_events=self.keep.max_events,
        )
        self._forgotten.difference_update(pruned.clusters)
        if pruned.clusters or pruned.changes:
            log.info("removed what is old", clusters=len(pruned.clusters), changes=pruned.changes)

    async def _files(self, before: float) -> bool:
        """Remove what is left of clusters that ended before; False when not all of it could be."""
        after, all_gone = "", True
        while True:
            page = await self._store.list(ClusterQuery(include_ended=True, limit=PAGE, after=after))
            for cluster in page.items:
                if cluster.ended is not None and cluster.ended < before and cluster.uid not in self._forgotten:
                    all_gone &= await self._files_of(cluster)
            after = page.next_token
            if not after:
                return all_gone

    async def _files_of(self, cluster: Cluster) -> bool:
        try:
            for driver in drivers_of(cluster, await self._store.instances(cluster.uid, include_ended=True)):
                site = await self._site_of(driver, cluster.owner_uid)
                await site.forget(cluster.uid)
        except (DaskdError, OSError) as error:
            log.warning("an ended cluster's files can't be removed", cluster=cluster.uid, error=str(error))
            return False
        self._forgotten.add(cluster.uid)
        return True
