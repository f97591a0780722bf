"""What README and the pages show is run as it stands: snippets, and the session of the command line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ..daemon_process import DaemonProcess, until
from .pages import ROOT, blocks, page, tour

pytestmark = pytest.mark.real

# What the snippets leave to their reader, a function; it notes each run, so that a second one would be seen. Workers
# have the session's working directory and import path: that is promised, too.
WORK = """
def slow(x):
    with open("runs", "a") as runs:
        runs.write(f"{x}\\n")
    return x + 1
"""
STAY = """
import signal
signal.pause()
"""

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Sessions:
    """Python processes that run snippets against a daemon, in a folder with their work's module."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.folder = daemon.folder / "project"
        self.folder.mkdir()
        (self.folder / "work.py").write_text(WORK)
        self.runs = self.folder / "runs"
        self.runs.touch()

    @contextmanager
    def process(self, code: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs the code; killed when the context is left."""
        with (self.folder / "printed").open("wb") as printed:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=self.daemon.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def printed(self) -> str:
        """What the last process printed."""
        return (self.folder / "printed").read_text()

    def run(self, code: str) -> None:
        """Run the code to its end, which must be a good one."""
        with self.process(code) as process:
            assert process.wait(150) == 0, self.printed()

    def lose(self, code: str) -> None:
        """Run the code in a session that is killed once its work has begun."""
        with self.process(code + STAY) as process:
            until(lambda: self.runs.stat().st_size or process.poll() is not None, "the work has begun", 120)
            assert process.poll() is None, self.printed()


@pytest.fixture
def sessions(daemon: DaemonProcess) -> Sessions:
    """Sessions against the test's daemon."""
    return Sessions(daemon)


def test_the_tour_happens_as_told(sessions: Sessions, daskctl: Callable[..., Any]) -> None:
    """README's snippets run as they stand: work survives client and daemon, runs once, and the policy is applied."""
    create, recover, adapt = blocks(tour(), "python")
    sessions.lose("from work import slow\n" + create)
    sessions.daemon.restart()
    sessions.run(recover + "assert sorted(results) == list(range(1, 1001)), results\n" + adapt)
    assert sorted(sessions.runs.read_text().split(), key=int) == [str(x) for x in range(1000)]
    policy = daskctl("get", "etl")["groups"][0]["adaptive"]["policy"]
    assert (policy["minimum"], policy["maximum"]) == (0, 20)


def test_lost_work_comes_back_as_told(sessions: Sessions, daskctl: Callable[..., Any]) -> None:
    """The snippet and the commands of "A lost client's work" run as they stand."""
    sessions.lose("from work import slow\n" + blocks(tour(), "python")[0])
    until(lambda: daskctl("lost", "etl")["held_work"], "the scheduler has missed its client")
    (recover,) = blocks(page("lost-work.md"), "python")
    check = (
        "assert len(futures) == 1000, len(futures)\n"
        "assert {future.status for future in futures.values()} == {'finished'}\n"
    )
    sessions.run(recover + check)
    # that session's end was no goodbye either
    assert daskctl("lost", "etl", "--discard")["keys"] == 1000
    assert daskctl("lost", "etl")["held_work"] == []


def console(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a block with what they print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line:
            found[-1][1].append(line)
    return found


def on_a_terminal(line: str, env: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command on a terminal of 110 columns; answers with its exit code and lines, without colours."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    argv = [sys.executable, "-m", *shlex.split(line)]
    env = {**env, "TERM": "xterm"}
    process = subprocess.Popen(argv, env=env, stdin=other, stdout=other, stderr=other, start_new_session=True)
    os.close(other)
    told = bytearray()
    try:
        with suppress(OSError):  # a terminal's way to say that nobody is at its other end any more
            while data := os.read(main, 65536):
                told += data
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(main)
    return code, _ESCAPE.sub("", told.decode()).splitlines()


def header(lines: list[str]) -> list[str]:
    """The columns of the first table; empty if there is none."""
    return next((line.split() for line in lines if re.fullmatch(r"[A-Z ]+", line.strip())), [])


def test_the_command_lines_session_happens_as_told(daemon: DaemonProcess) -> None:
    """README's commands succeed one after another, and their tables have the columns that it shows."""
    session = console(blocks(tour(), "console")[0])
    assert len(session) >= 4
    for line, shown in session:
        code, lines = on_a_terminal(line, daemon.env)
        assert code == 0, lines
        assert header(lines) == header(shown), lines


def test_the_demo_shown_is_the_demo() -> None:
    """Each line that README shows of `make demo` is one that the demo says, its figures aside."""
    demo = ROOT / "docs" / "demo"
    sources = "".join((demo / name).read_text() for name in ("demo.py", "first_session.py", "second_session.py"))
    said = re.findall(r'(?:say|print|relay|wait_for)\((?:second, |first, |\d, )?f?"([^"]+)"', sources)
    patterns = [re.compile(re.sub(r"\\\{.*?\\\}", ".+", re.escape(words))) for words in said]
    shown = [line.split("] ", 1)[1].strip() for line in blocks(tour(), "console")[1].splitlines()[1:]]
    told = [line for line in shown if "\t" not in line]
    assert len(told) > 15
    assert [line for line in told if not any(pattern.match(line) for pattern in patterns)] == []
