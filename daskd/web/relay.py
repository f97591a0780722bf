"""Bytes both ways between a browser and a cluster, once they agreed on a websocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from daskd.drivers.streams import Stream

from .browser import DRAIN_S, Browser
from .upstream import PAUSE_S, Upstream

SILENT_S = 300.0
"""How long neither may say anything; Bokeh says something twice a minute."""
RECHECK_S = 15.0
"""How often it is asked anew whether who looks may."""


class Relay:
    """Passes on what either says.

    Parameters
    ----------
    still
        Raises when who looks may not look any more.
    """

    def __init__(self, browser: Browser, upstream: Upstream, still: Callable[[], Awaitable[object]]) -> None:
        self._browser = browser
        self._upstream = upstream
        self._still = still
        self._heard = 0.0

    async def run(self) -> None:
        """Go on until one hangs up, takes nothing, or both are silent for long; and no longer than `still` lets."""
        self._heard = asyncio.get_running_loop().time()
        parts = (
            self._copy(self._browser.stream, self._upstream.stream),
            self._copy(self._upstream.stream, self._browser.stream),
            self._check(),
        )
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy(self, source: Stream, sink: Stream) -> None:
        with suppress(OSError, asyncio.TimeoutError, TimeoutError):
            while data := await source.receive():
                self._heard = asyncio.get_running_loop().time()
                await asyncio.wait_for(sink.send(data), DRAIN_S)
                await asyncio.sleep(PAUSE_S)

    async def _check(self) -> None:
        while asyncio.get_running_loop().time() - self._heard < SILENT_S:
            await asyncio.sleep(RECHECK_S)
            await self._still()
