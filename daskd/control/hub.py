"""Listens to one cluster's scheduler over the link, and remembers the last word."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import structlog

from daskd.measures import MEASURES
from daskd.model.adaptive import Snapshot
from daskd.model.adaptive_snapshot import BadSnapshot, parse_snapshot

from .link import Link, LinkError
from .policy import Pace
from .tasks import end
from .view import HubView

log = structlog.get_logger(__name__)

STATE_WAIT = 10.0
FIRST_PAUSE, MOST_PAUSE = 0.05, 5.0
CONNECT_PAUSE = 0.2
"""A scheduler that has never answered is being started: it is asked often."""

NEWS_PAUSE, ENTRY_PAUSE = 0.02, 1e-4
"""Between two answers, and more for each entry of the last: some ten times what reading it took."""


class Hub:
    """The last word of the scheduler behind one link.

    Parameters
    ----------
    link
        Whom to listen to.
    wake
        Called when there is news.
    """

    def __init__(self, link: Link, wake: Callable[[], None]) -> None:
        self.link = link
        self._wake = wake
        self.view = HubView(instance=link.instance)
        self.snapshot: Snapshot | None = None
        self.snapshot_trouble = ""
        self._task = asyncio.create_task(self._listen(), name=f"link of {link.cluster}")
        self._snapshots: asyncio.Task[None] | None = None
        self._pace: Pace | None = None

    async def close(self) -> None:
        """Stop listening."""
        await end(task for task in (self._task, self._snapshots) if task is not None)

    def want_snapshots(self, pace: Pace | None) -> None:
        """Fetch the adaptive policy's facts at that pace; None: don't."""
        if pace == self._pace:
            return
        self._pace = pace
        if self._snapshots is not None:
            self._snapshots.cancel()
            self._snapshots = None
        if pace is None:
            self.snapshot = None
        else:
            self._snapshots = asyncio.create_task(self._fetch(pace), name=f"facts of {self.link.cluster}")

    async def _listen(self) -> None:
        pause = FIRST_PAUSE
        while True:
            heard = self.view.heard
            try:
                hello = await self.link.hello()
                self._set(versions=hello.versions)
                await self._follow()
            except LinkError as error:
                self._trouble(error.words)
            except Exception as error:  # a bug in reading what one scheduler says must not leave its cluster deaf
                log.exception("an answer of the link could not be taken in", cluster=self.link.cluster)
                self._trouble(f"its answer could not be taken in: {error!r}")
            most = MOST_PAUSE if self.view.state is not None else CONNECT_PAUSE
            pause = FIRST_PAUSE if self.view.heard != heard else min(pause * 2, most)
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        since: int | None = None
        while True:
            state = await self.link.state(since, STATE_WAIT)
            news = state.rev != since or not self.view.connected
            since = state.rev
            self._set(state=state, connected=True, heard=time.time(), trouble="")
            if news:
                self._wake()
            # one that always has news, or answers without waiting, shall not keep the daemon busy with nothing else
            await asyncio.sleep(min(MOST_PAUSE, NEWS_PAUSE + ENTRY_PAUSE * (len(state.workers) + len(state.events))))

    def _set(self, **values: Any) -> None:
        self.view = dataclasses.replace(self.view, **values)

    def _trouble(self, words: str) -> None:
        MEASURES.count("link_failures")
        changed = self.view.connected or self.view.trouble != words
        self._set(connected=False, trouble=words)
        if changed:
            log.info("the link does not answer as it should", cluster=self.link.cluster, trouble=words)
            self._wake()

    async def _fetch(self, pace: Pace) -> None:
        wake: int | None = None
        while True:
            asked = time.monotonic()
            try:
                raw = await self.link.snapshot(wake, pace.interval)
                if pace.settle and wake is not None and time.monotonic() - asked < pace.interval:
                    await asyncio.sleep(pace.settle)
                    raw = await self.link.snapshot(None, 0.0)
                self.snapshot = await asyncio.to_thread(parse_snapshot, raw, received=time.time())
                self.snapshot_trouble = ""
                # what woke it is told; the interval bounds how often a busy scheduler is asked
                wake = self.snapshot.wake
                self._wake()
                if time.monotonic() - asked < pace.interval:
                    await asyncio.sleep(pace.pause)
            except (LinkError, BadSnapshot) as error:
                self.snapshot_trouble = str(error)
                await asyncio.sleep(min(pace.interval, MOST_PAUSE))
