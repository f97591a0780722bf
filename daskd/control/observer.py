"""The only caller of a site's `observe`: one bulk listing serves all clusters of the site."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from daskd.drivers.protocol import Observation, Site, Snapshot
from daskd.measures import MEASURES
from daskd.model.cluster import Handle

from .backoff import delay

log = structlog.get_logger(__name__)

DEEP_EVERY = 60.0


class Observer:
    """Asks a site what it shows, as often as anybody needs, and tells those whose things changed.

    Parameters
    ----------
    site
        Whom to ask.
    on_strays
        Called with every deep listing.
    timeout
        Seconds after which a listing is cut off; that is no answer, and changes nothing.
    """

    def __init__(self, site: Site, on_strays: Callable[[Snapshot], None], timeout: float) -> None:
        self._site = site
        self._on_strays = on_strays
        self._timeout = timeout
        self._known: dict[str, dict[str, Handle]] = {}
        self._wakes: dict[str, Callable[[], None]] = {}
        self._hurried: set[str] = set()
        self._seen: dict[str, Observation] = {}
        self._begun = 0.0
        self._asked = 0
        self._answered = 0
        self._nudged = asyncio.Event()
        self._failures = 0
        self._without_news = 0

    def watch(self, cluster: str, handles: Mapping[str, Handle], wake: Callable[[], None], *, hurry: bool) -> None:
        """Observe these handles of a cluster from now on.

        Parameters
        ----------
        wake
            Called when one of them changed.
        hurry
            Something is young or ending: ask often.
        """
        self._known[cluster] = dict(handles)
        self._wakes[cluster] = wake
        if hurry and cluster not in self._hurried:
            self._hurried.add(cluster)
            self._nudged.set()
        elif not hurry:
            self._hurried.discard(cluster)

    def forget(self, cluster: str) -> None:
        """Observe nothing of that cluster any more."""
        for key in self._known.pop(cluster, {}):
            self._seen.pop(key, None)
        self._wakes.pop(cluster, None)
        self._hurried.discard(cluster)

    def nudge(self) -> None:
        """Something was just done: look at once."""
        self._without_news = 0
        self._nudged.set()

    @property
    def asked(self) -> int:
        """How many listings were begun: what is done now is seen by those after this one, whatever clocks say."""
        return self._asked

    def last(self, cluster: str) -> tuple[int, float, dict[str, Observation]]:
        """Number and begin (unix seconds) of the last complete listing, and what it showed of a cluster."""
        known = self._known.get(cluster, {})
        return self._answered, self._begun, {key: self._seen[key] for key in known if key in self._seen}

    async def run(self) -> None:
        """Observe until cancelled."""
        deep_at = 0.0
        while True:
            self._nudged.clear()
            deep = time.monotonic() >= deep_at
            if deep:
                deep_at = time.monotonic() + DEEP_EVERY
            await self._look(deep)
            await self._rest()

    async def _rest(self) -> None:
        capabilities = self._site.capabilities
        pause = capabilities.poll_quiet_s
        if self._hurried:
            grown = capabilities.poll_min_s * capabilities.poll_growth ** min(self._without_news, 100)
            pause = min(pause, grown)
        if self._failures:
            pause = max(pause, delay(self._failures, "observe"))
        try:
            await asyncio.wait_for(self._nudged.wait(), pause)
        except (asyncio.TimeoutError, TimeoutError):
            return
        # a burst of nudges is one look
        await asyncio.sleep(min(pause, 0.02))

    async def _look(self, deep: bool) -> None:
        handles = [handle for known in self._known.values() for handle in known.values()]
        if not handles and not deep:
            return
        self._asked += 1
        number = self._asked
        try:
            snapshot = await asyncio.wait_for(self._site.observe(handles, deep), self._timeout)
        except Exception as error:  # a driver's error says nothing about the things: ask again later
            self._failed(error)
            return
        if not snapshot.complete:
            self._failed(snapshot.words)
            return
        self._failures = 0
        self._answered = number
        self._absorb(snapshot)
        if deep:
            self._on_strays(snapshot)

    def _failed(self, error: Exception | str) -> None:
        self._failures += 1
        MEASURES.count("driver_failures", "observe")
        if self._failures == 1:
            log.warning("the system could not be observed; nothing changes for it", error=str(error) or repr(error))

    def _absorb(self, snapshot: Snapshot) -> None:
        self._begun = snapshot.begun
        seen = {observation.handle.id: observation for observation in snapshot.seen}
        changed = {key for key, observation in seen.items() if self._seen.get(key) != observation}
        self._without_news = 0 if changed else self._without_news + 1
        self._seen = seen
        for cluster, known in self._known.items():
            if not changed.isdisjoint(known):
                self._wakes[cluster]()
