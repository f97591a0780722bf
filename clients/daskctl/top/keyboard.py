"""The keys that are pressed on a terminal, one by one and unechoed."""

from __future__ import annotations

import asyncio
import codecs
import os
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SEQUENCES = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "page-up",
    "6~": "page-down",
    "7~": "home",
    "8~": "end",
}
_PLAIN = {"\r": "enter", "\n": "enter"}
_ESCAPE = "\x1b"
_ESCAPE_WITHIN_S = 0.05  # what follows an Escape later than this was pressed by itself


class Decoder:
    """Keys out of what a terminal sends; a key's sequence may come in pieces."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    @property
    def is_within(self) -> bool:
        """Whether a sequence has begun and not ended: it may be one of a key, or Escape itself."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete: characters, and names such as "up", "enter", "escape"; unknown ones are not."""
        self._rest += self._text.decode(data)
        keys = []
        while self._rest:
            if self._rest[0] != _ESCAPE:
                keys.append(_PLAIN.get(self._rest[0], self._rest[0]))
                self._rest = self._rest[1:]
                continue
            end = _end_of_sequence(self._rest)
            if end is None:
                break
            sequence, self._rest = self._rest[:end], self._rest[end:]
            if key := "escape" if sequence == _ESCAPE else _SEQUENCES.get(sequence[2:]):
                keys.append(key)
        return keys

    def flush(self) -> list[str]:
        """The key that was pressed if nothing more comes: Escape, where one was sent alone."""
        keys = ["escape"] if self._rest == _ESCAPE else []
        self._rest = ""
        return keys


def _end_of_sequence(text: str) -> int | None:
    """Where the sequence that begins with this Escape ends; None: not yet. An Escape by itself is one."""
    if len(text) == 1:
        return None
    if text[1] not in "[O":
        return 1
    # ECMA-48: parameters, then one final character
    for index, character in enumerate(text[2:], start=2):
        if "@" <= character <= "~":
            return index + 1
    return None


@contextmanager
def unbuffered(terminal: int) -> Iterator[None]:
    """Have a terminal send each key at once and echo none, within the context. Ctrl-C and Ctrl-Z stay signals.

    Parameters
    ----------
    terminal
        Its file descriptor.
    """
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        # what was typed for the screen shall not reach the shell
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


@contextmanager
def keys_of(terminal: int, press: Callable[[str], None]) -> Iterator[None]:
    """Call `press` with each key, from the running event loop, within the context."""
    loop = asyncio.get_running_loop()
    decoder = Decoder()
    pending: asyncio.TimerHandle | None = None

    def tell(keys: list[str]) -> None:
        for key in keys:
            press(key)

    def read() -> None:
        nonlocal pending
        if pending is not None:
            pending.cancel()
        try:
            data = os.read(terminal, 1024)
        except OSError:  # how Linux tells that a terminal is gone
            data = b""
        if not data:
            loop.remove_reader(terminal)
        tell(decoder.feed(data))
        if decoder.is_within:
            pending = loop.call_later(_ESCAPE_WITHIN_S, lambda: tell(decoder.flush()))

    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        if pending is not None:
            pending.cancel()
