"""Every owner's site: the system as that user uses it, observed while the user has clusters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from daskd.drivers.protocol import Site, Snapshot

from .observer import Observer
from .settings import Settings
from .strays import Strays
from .tasks import end

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class OwnedSite:
    """One owner's site, who observes it, and how many clusters need that."""

    site: Site
    observer: Observer
    holders: int = 0
    observing: asyncio.Task[None] | None = None


class Sites:
    """The sites of all owners, by uid.

    Parameters
    ----------
    open_site
        Opens an owner's site, which starts nothing there.
    known
        Ids of all instances that the store has live rows of, whoever's: what bears none of them is a stray.

    Attributes
    ----------
    settings
        May be changed at any time; sites that are open keep their time-outs.
    """

    def __init__(
        self,
        open_site: Callable[[int], Awaitable[Site]],
        settings: Settings,
        known: Callable[[], Awaitable[set[str]]],
    ) -> None:
        self._open_site = open_site
        self.settings = settings
        self._known = known
        self._started = time.time()
        self._owned: dict[int, OwnedSite] = {}
        self._opening = asyncio.Lock()
        self._weighing: set[asyncio.Task[None]] = set()

    async def of(self, owner_uid: int) -> Site:
        """An owner's site.

        Raises
        ------
        NotAllowed
            When this daemon can run nothing as that user.
        """
        return (await self._find(owner_uid)).site

    async def hold(self, owner_uid: int) -> OwnedSite:
        """An owner's site, observed until it is released as often as it was held.

        Raises
        ------
        NotAllowed
            When this daemon can run nothing as that user.
        """
        owned = await self._find(owner_uid)
        owned.holders += 1
        if owned.observing is None:
            owned.observing = asyncio.create_task(owned.observer.run(), name=f"observer of uid {owner_uid}")
            owned.observing.add_done_callback(_observer_done)
        return owned

    def release(self, owner_uid: int) -> None:
        """One cluster of that owner needs it no more."""
        owned = self._owned[owner_uid]
        owned.holders -= 1
        if not owned.holders and owned.observing is not None:
            owned.observing.cancel()
            owned.observing = None

    async def close(self) -> None:
        """Let go of all; ends nothing there."""
        for owned in self._owned.values():
            if owned.observing is not None:
                await end([owned.observing])
            await owned.site.close()

    async def _find(self, owner_uid: int) -> OwnedSite:
        async with self._opening:
            if owner_uid not in self._owned:
                site = await self._open_site(owner_uid)
                strays = Strays(self.settings.orphan_grace, self._started)
                observer = Observer(
                    site, lambda seen: self._saw_strays(site, strays, seen), self.settings.driver_timeout
                )
                self._owned[owner_uid] = OwnedSite(site, observer)
            return self._owned[owner_uid]

    def _saw_strays(self, site: Site, strays: Strays, snapshot: Snapshot) -> None:
        if not snapshot.strays:
            return
        task = asyncio.create_task(self._weigh(site, strays, snapshot), name="strays")
        self._weighing.add(task)
        task.add_done_callback(self._weighed)

    async def _weigh(self, site: Site, strays: Strays, snapshot: Snapshot) -> None:
        new, orphans = strays.look(snapshot.strays, await self._known(), snapshot.begun)
        for handle in new:
            log.warning("found what no cluster owns", instance=handle.id, will_be_ended=self.settings.end_orphans)
        if orphans and self.settings.end_orphans:
            log.warning("ending what no cluster owns", instances=[handle.id for handle in orphans])
            await site.terminate(orphans)

    def _weighed(self, task: asyncio.Task[None]) -> None:
        self._weighing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("what no cluster owns could not be looked at or ended; tried again", error=str(error))


def _observer_done(task: asyncio.Task[None]) -> None:
    # no background task may die unseen
    if not task.cancelled() and (error := task.exception()):
        log.error("a background task ended", task=task.get_name(), exc_info=error)
