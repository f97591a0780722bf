"""A terminal for programs that draw on one: what is on its screen, and the keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyte

from ..daemon_process import until

WAIT_S = 60.0

# Its session has no controlling terminal yet; without one Ctrl-C would be no signal.
_CONTROLLED = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv[0] = "daskctl"
runpy.run_module("daskctl", run_name="__main__", alter_sys=True)
"""


class Terminal:
    """A terminal with one `daskctl` on it."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str], columns: int = 120, lines: int = 24) -> None:
        self._own, self._other = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self.resize(columns, lines)
        self.attributes_before = self.attributes()
        size = {"COLUMNS", "LINES"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *arguments],
            stdin=self._other,
            stdout=self._other,
            stderr=self._other,
            env={**{name: value for name, value in env.items() if name not in size}, "TERM": "xterm-256color"},
            start_new_session=True,
        )

    def attributes(self) -> list[Any]:
        """How the terminal is set: echo, line by line, and so on."""
        return termios.tcgetattr(self._other)

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size; what runs on it is sent SIGWINCH."""
        self._screen.resize(lines, columns)
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._own, keys.encode())

    def lines(self) -> list[str]:
        """What is on the screen now."""
        while select.select([self._own], [], [], 0)[0]:
            data = os.read(self._own, 65536)
            self.written += data
            self._stream.feed(data)
        return [line.rstrip() for line in self._screen.display]

    def until(self, condition: Callable[[list[str]], Any], what: str) -> list[str]:
        """What is on the screen once that is so."""

        def look() -> list[str] | None:
            lines = self.lines()
            return lines if condition(lines) else None

        try:
            return until(look, what, WAIT_S) or []
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines()])) from None

    def until_shown(self, *words: str) -> list[str]:
        """What is on the screen once a line of it has all these words."""
        return self.until(lambda lines: any(all(word in line for word in words) for line in lines), f"{words} is shown")

    def exit_code(self) -> int:
        """How the program ended; its output is read until then, lest it wait for that."""
        self.until(lambda _lines: self.process.poll() is not None, "the program ends")
        self.lines()
        return self.process.wait()

    def close(self) -> None:
        """End the program, and the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self._own)
        os.close(self._other)


@contextmanager
def terminal(*arguments: str, env: dict[str, str], columns: int = 120, lines: int = 24) -> Iterator[Terminal]:
    """A terminal on which `daskctl` runs with these arguments; both end with the context."""
    opened = Terminal(arguments, env, columns, lines)
    try:
        yield opened
    finally:
        opened.close()
