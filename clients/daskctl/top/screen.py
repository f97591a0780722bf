"""The terminal: drawn whenever there is something new, left as it was found."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import TextIO

from rich.console import Console
from rich.live import Live

from ..render.top import frame, room_for_rows
from .keyboard import keys_of, unbuffered
from .picture import Picture
from .view import View, press

_LEAST_BETWEEN_S = 0.05  # frames: more a second are work that nobody sees
_MOST_BETWEEN_S = 1.0  # times that are told as "ago" grow


class Screen:
    """A picture on the full screen of a terminal, and the keys that change the view of it.

    Parameters
    ----------
    out
        The terminal that is drawn on.
    keyboard
        The file descriptor of the terminal that keys come from.
    clock
        What time it is.

    Attributes
    ----------
    view
        What is shown.
    reopened
        Called when another cluster, or the list of all, is looked at.
    """

    def __init__(
        self, out: TextIO, keyboard: int, picture: Picture, view: View, *, clock: Callable[[], datetime]
    ) -> None:
        self.view = view
        self.reopened: Callable[[], None] = lambda: None
        self._console = console = Console(file=out, highlight=False, emoji=False, markup=False)
        self._keyboard = keyboard
        self._picture = picture
        self._clock = clock
        self._news = asyncio.Event()
        self._terminal = ExitStack()
        self._live = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._ended_by: signal.Signals | None = None

    def touch(self) -> None:
        """Have it drawn anew."""
        self._news.set()

    async def run(self) -> None:
        """Show the picture until the user quits; the terminal is then as it was, whatever ends this."""
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGWINCH: self.touch,
            signal.SIGTERM: lambda: self._quit(signal.SIGTERM),
            signal.SIGTSTP: self._suspend,
        }
        try:
            with _handling(loop, handlers), keys_of(self._keyboard, self._press):
                self._take_terminal()
                await self._draw_until_quit()
        finally:
            self._terminal.close()
        if self._ended_by is not None:
            signal.raise_signal(self._ended_by)  # with the terminal given back, end of it as anything else would

    async def _draw_until_quit(self) -> None:
        while not self.view.has_quit:
            self._news.clear()
            self._draw()
            await asyncio.sleep(_LEAST_BETWEEN_S)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), _MOST_BETWEEN_S)

    def _draw(self) -> None:
        width, height = self._console.size
        self._live.update(frame(self._picture, self.view, self._clock(), width, height), refresh=True)

    def _press(self, key: str) -> None:
        before = self.view.opened
        rows = self.view.rows(self._picture)
        self.view = press(self.view, key, rows, room_for_rows(self._picture, self.view, self._console.size.height))
        if self.view.opened != before:
            self.reopened()
        self.touch()

    def _quit(self, signum: signal.Signals) -> None:
        self._ended_by = signum
        self.view = press(self.view, "q", (), 0)
        self.touch()

    def _take_terminal(self) -> None:
        self._terminal.enter_context(unbuffered(self._keyboard))
        self._live.start()
        self._terminal.callback(self._live.stop)

    def _suspend(self) -> None:
        """Ctrl-Z: give the terminal to the shell until it lets us go on."""
        self._terminal.close()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_terminal()
        self.touch()


@contextmanager
def _handling(loop: asyncio.AbstractEventLoop, handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    for signum, handler in handlers.items():
        loop.add_signal_handler(signum, handler)
    try:
        yield
    finally:
        for signum in handlers:
            loop.remove_signal_handler(signum)
