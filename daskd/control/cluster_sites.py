"""The sites that one cluster uses: the one of its scheduler's driver, and one for each driver of its groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from daskd.drivers.protocol import Observation, Site
from daskd.model.cluster import Cluster, Instance
from daskd.model.errors import DaskdError

from .sites import OwnedSite, Sites
from .view import Listing

log = structlog.get_logger(__name__)

HOME = "local"
"""The driver that launches schedulers beside the daemon, and keeps what a cluster has on this machine."""

OPEN_AGAIN = 10.0
"""Seconds after which a site that could not be opened is tried again."""


def scheduler_driver(cluster: Cluster) -> str:
    """The driver that launches a cluster's scheduler."""
    spec = cluster.spec
    return spec.scheduler_group.driver if spec.scheduler.is_placed else HOME


def drivers_of(cluster: Cluster, instances: Iterable[Instance] = ()) -> list[str]:
    """Names of the drivers that a cluster uses, or that hold instances of it."""
    names = [
        HOME,
        scheduler_driver(cluster),
        *(group.driver for group in cluster.spec.groups),
        *(i.handle.driver for i in instances),
    ]
    return list(dict.fromkeys(names))


class ClusterSites:
    """Holds them as long as the cluster lives.

    Parameters
    ----------
    uid
        The cluster.
    """

    def __init__(self, uid: str, owner_uid: int, sites: Sites) -> None:
        self._uid = uid
        self._owner_uid = owner_uid
        self._sites = sites
        self._held: dict[str, OwnedSite] = {}
        self._acted_after: dict[str, int] = {}
        self._refused: dict[str, tuple[float, str]] = {}

    async def hold(self, drivers: Iterable[str]) -> None:
        """Hold the sites of these drivers. One that can't be opened is told and tried again; the others serve."""
        for driver in drivers:
            if driver in self._held or time.monotonic() < self._refused.get(driver, (0.0, ""))[0]:
                continue
            try:
                self._held[driver] = await self._sites.hold(driver, self._owner_uid)
            except (DaskdError, OSError) as error:
                if driver == HOME:
                    raise
                self._refused[driver] = (time.monotonic() + OPEN_AGAIN, str(error))
                log.error("a driver can't be used; tried again", driver=driver, error=str(error))

    def leave(self) -> None:
        """Let go of all; nothing is ended."""
        for owned in self._held.values():
            owned.observer.forget(self._uid)
            self._sites.release(owned)
        self._held.clear()

    def has(self, driver: str) -> bool:
        """Whether the driver can be used now."""
        return driver in self._held

    def trouble(self, driver: str) -> str:
        """Why a driver can't be used now."""
        return self._refused.get(driver, (0.0, ""))[1] or f"the driver {driver!r} can't be used now"

    def of(self, driver: str) -> Site:
        """The site of a driver that is held.

        Raises
        ------
        KeyError
            When it is not.
        """
        return self._held[driver].site

    @property
    def start_s(self) -> Mapping[str, float]:
        """Seconds that each driver says a start takes."""
        return {driver: owned.site.capabilities.start_s for driver, owned in self._held.items()}

    def observed(self) -> tuple[dict[str, Observation], dict[str, Listing]]:
        """What the last listings showed of the cluster, and those listings by driver.

        What was listed before the last act on a site says nothing of it.
        """
        seen: dict[str, Observation] = {}
        listings: dict[str, Listing] = {}
        for driver, owned in self._held.items():
            number, begun, shown = owned.observer.last(self._uid)
            if number > self._acted_after.get(driver, 0):
                seen |= shown
                listings[driver] = Listing(begun, owned.site.capabilities.settle_s)
        return seen, listings

    def acted(self, drivers: Iterable[str]) -> None:
        """Something was done there: look at once, and believe no listing that was begun before."""
        for driver in drivers:
            if owned := self._held.get(driver):
                self._acted_after[driver] = owned.observer.asked
                owned.observer.nudge()

    def watch(self, instances: Iterable[Instance], wake: Callable[[], None], *, hurry: bool) -> None:
        """Observe these instances from now on; `hurry`: something is young or ending."""
        here = list(instances)
        for driver, owned in self._held.items():
            handles = {i.id: i.handle for i in here if i.handle.driver == driver}
            owned.observer.watch(self._uid, handles, wake, hurry=hurry)
