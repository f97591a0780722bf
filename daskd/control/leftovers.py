"""Removes keys and scratch files of clusters that ended just before the daemon did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from daskd.drivers.protocol import Site
from daskd.model.errors import DaskdError
from daskd.security.vault import Vault
from daskd.store import Store

from .cluster_sites import drivers_of

log = structlog.get_logger(__name__)


async def clear_leftovers(store: Store, site_of: Callable[[str, int], Awaitable[Site]], vault: Vault) -> None:
    """Clean up what has credentials and does not live; `site_of` answers with a driver's site as that uid's user.

    A cluster's end is recorded before it is cleaned up, and one that has ended gets no reconciler any more.
    Credentials go last, so that they tell of what is left.
    """
    # in this order: whatever has credentials by now was recorded before
    kept = await vault.kept()
    live = {cluster.uid for cluster in await store.live()}
    for uid in kept:
        if uid in live:
            continue
        try:
            # one without a record is forgotten, and with it its files: records go last
            if (cluster := await store.get(uid)) is not None:
                for driver in drivers_of(cluster, await store.instances(uid, include_ended=True)):
                    await (await site_of(driver, cluster.owner_uid)).unstage(uid)
            await vault.forget(uid)
        except (DaskdError, OSError) as error:
            log.error("what an ended cluster left could not be removed; the next start tries again", error=str(error))
        else:
            log.info("removed what an ended cluster left", cluster=uid)
