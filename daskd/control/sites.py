"""Every owner's sites: each system as that user uses it, observed while the user has clusters on it."""

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
    """One owner's site of a driver, who observes it, and how many clusters need that."""

    driver: str
    site: Site
    observer: Observer
    holders: int = 0
    observing: asyncio.Task[None] | None = None


class Sites:
    """The sites of all owners, by driver and uid.

    Parameters
    ----------
    open_site
        Opens a driver's site as the user of that uid, which starts nothing there.
    known
        Ids of all instances that the store has live rows of, whoever's: what bears none of them is a stray.

    Attributes
    ----------
    settings
        May be changed at any time; sites that are open keep their time-outs.
    """

    def __init__(
        self,
        open_site: Callable[[str, int], Awaitable[Site]],
        settings: Settings,
        known: Callable[[], Awaitable[set[str]]],
    ) -> None:
        self._open_site = open_site
        self.settings = settings
        self._known = known
        self._started = time.time()
        self._owned: dict[tuple[str, int], OwnedSite] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._weighing: set[asyncio.Task[None]] = set()

    async def of(self, driver: str, owner_uid: int) -> Site:
        """An owner's site of a driver.

        Raises
        ------
        NotAllowed
            When this daemon can run nothing there as that user.
        """
        return (await self._find(driver, owner_uid)).site

    async def hold(self, driver: str, owner_uid: int) -> OwnedSite:
        """An owner's site of a driver, observed until it is released as often as it was held.

        Raises
        ------
        NotAllowed
            When this daemon can run nothing there as that user.
        """
        owned = await self._find(driver, owner_uid)
        owned.holders += 1
        if owned.observing is None:
            name = f"observer of {driver!r} as uid {owner_uid}"
            owned.observing = asyncio.create_task(owned.observer.run(), name=name)
            owned.observing.add_done_callback(_observer_done)
        return owned

    def release(self, owned: OwnedSite) -> None:
        """One cluster needs it no more."""
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

    async def _find(self, driver: str, owner_uid: int) -> OwnedSite:
        key = (driver, owner_uid)
        # a system that is slow to open holds up nobody who uses another
        async with self._opening.setdefault(driver, asyncio.Lock()):
            if key not in self._owned:
                site = await self._open_site(driver, owner_uid)
                strays = Strays(self.settings.orphan_grace, self._started)
                observer = Observer(
                    site, lambda seen: self._saw_strays(site, strays, seen), self.settings.driver_timeout
                )
                self._owned[key] = OwnedSite(driver, site, observer)
            return self._owned[key]

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
