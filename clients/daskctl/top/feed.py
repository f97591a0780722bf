"""Keeps a picture true: clusters and events by a watch, what workers take by asking at an interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import datetime

from daskd_client import AsyncDaskd, ClusterNotFound, DaemonUnavailable, DeadlineExceeded
from daskd_client.types import Change

from .picture import Picture

_AT_ONCE = 8  # questions to the daemon: its other callers wait for their answers, too


class Feed:
    """Feeds a picture until it is cancelled, or the daemon says no. A daemon that is away is waited for.

    Parameters
    ----------
    only
        The uid of the one cluster that is of interest; empty: all.
    opened
        Answers with the uid of the cluster that is looked at now; empty: all of them.
    interval_s
        How often to ask what workers take, in seconds.
    changed
        Called when the picture has changed.
    clock
        What time it is.
    """

    def __init__(
        self,
        daskd: AsyncDaskd,
        picture: Picture,
        *,
        only: str,
        opened: Callable[[], str],
        interval_s: float,
        changed: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._daskd = daskd
        self._picture = picture
        self._only = only
        self._opened = opened
        self._interval_s = interval_s
        self._changed = changed
        self._clock = clock
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._wanted = asyncio.Event()

    def hurry(self) -> None:
        """Ask now, and not only when the interval is over: something else is looked at."""
        self._wanted.set()

    async def follow(self) -> None:
        """Take in clusters and events as they change."""
        resume_token = ""
        while True:
            with suppress(DaemonUnavailable, DeadlineExceeded):
                watch = self._daskd.watch(self._only, resume_token=resume_token, include_events=True)
                async with aclosing(watch) as changes:
                    async for change in changes:
                        resume_token = change.resume_token or resume_token
                        self._absorb(change)
            await asyncio.sleep(self._interval_s)

    def _absorb(self, change: Change) -> None:
        is_news = change.cluster is not None and change.cluster.uid not in self._picture.clusters
        self._picture.absorb(change)
        self._heard()
        if is_news:
            self.hurry()

    async def ask(self) -> None:
        """Ask what workers take, again and again."""
        while True:
            self._wanted.clear()
            self._picture.asks(self._clock())
            with suppress(DaemonUnavailable, DeadlineExceeded):  # the picture tells for how long
                await self._ask_once()
                self._picture.is_answered(self._clock())
            self._changed()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._interval_s)

    async def _ask_once(self) -> None:
        self._picture.info = await self._daskd.info()
        self._heard()
        opened = self._opened()
        self._picture.drop_ended(self._clock(), keep=opened)
        known = self._picture.clusters.items()
        uids = [uid for uid, cluster in known if (uid == opened if opened else not cluster.end_time)]
        asking = [asyncio.ensure_future(self._ask_for(uid, with_history=bool(opened))) for uid in uids]
        try:
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()

    async def _ask_for(self, uid: str, *, with_history: bool) -> None:
        async with self._at_once:
            try:
                self._picture.workers[uid] = tuple(await self._daskd.workers(uid))
                if with_history and uid not in self._picture.with_history:
                    self._picture.add_history(uid, await self._daskd.events(uid))
            except ClusterNotFound:
                if uid == self._only:
                    raise
                self._picture.drop(uid)
            self._heard()

    def _heard(self) -> None:
        self._picture.hears(self._clock())
        self._changed()
