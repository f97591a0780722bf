"""Removes what clusters left on their hosts; from one that is down as soon as it is back."""

from __future__ import annotations

import asyncio

import structlog

from .hosts import Hosts
from .visits import Cleared, Visit, Visits

log = structlog.get_logger(__name__)

CLEAR_S = 60.0
AGAIN_S = 30.0
MOST_AGAIN_S = 600.0

_VERBS = {Cleared.UNSTAGED: "unstage", Cleared.FORGOTTEN: "forget"}


class Clearing:
    """Asks hosts to clear, and asks again where they did not.

    Parameters
    ----------
    hosts
        Whom to ask.
    visits
        Which clusters were where, and what is wanted.
    """

    def __init__(self, hosts: Hosts, visits: Visits) -> None:
        self._hosts = hosts
        self._visits = visits
        self._again: asyncio.Task[None] | None = None
        self._told: set[Visit] = set()

    def begin(self) -> None:
        """Go on with what an earlier daemon did not get done."""
        if self._again is None or self._again.done():
            self._again = asyncio.create_task(self._repeat(), name="clearing of hosts")
            self._again.add_done_callback(_over)

    async def clear(self, cluster: str, wanted: Cleared) -> None:
        """Clear a cluster so far from all its hosts; where one does not answer, later."""
        await asyncio.to_thread(self._visits.want, cluster, wanted)
        if not await self._pass(cluster):
            self.begin()

    async def close(self) -> None:
        """Stop; what is left is on disk."""
        if self._again is not None:
            self._again.cancel()

    async def _repeat(self) -> None:
        pause = AGAIN_S
        while True:
            if await self._pass():
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, MOST_AGAIN_S)

    async def _pass(self, cluster: str = "") -> bool:
        """Ask every host that has something left, of one cluster or of all; whether nothing is left."""
        left = [
            visit
            for visit in await asyncio.to_thread(self._visits.all)
            if visit.cleared < visit.wanted and cluster in ("", visit.cluster)
        ]
        return all(await asyncio.gather(*(self._ask(visit) for visit in left)))

    async def _ask(self, visit: Visit) -> bool:
        asked = {visit.endpoint: {"cluster": visit.cluster}}
        answer = (await self._hosts.ask_all(_VERBS[visit.wanted], asked, CLEAR_S))[visit.endpoint]
        if not isinstance(answer, dict):
            if visit not in self._told:
                self._told.add(visit)
                words = "a host still has files of a cluster that is gone; it is asked again until they are removed"
                log.warning(words, host=visit.endpoint.name, cluster=visit.cluster, trouble=str(answer))
            return False
        self._told.discard(visit)
        await asyncio.to_thread(self._visits.cleared, visit)
        return True


def _over(task: asyncio.Task[None]) -> None:
    # no background task may die unseen
    if not task.cancelled() and (error := task.exception()):
        log.error("a background task ended", task=task.get_name(), exc_info=error)
