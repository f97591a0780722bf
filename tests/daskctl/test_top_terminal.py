"""`daskctl top` on a terminal, against a real daemon: what is on the screen, and how the terminal is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..daemon_process import DaemonProcess
from .pseudo_terminal import Terminal, terminal

LEAVES_THE_SCREEN = b"\x1b[?1049l"
SHOWS_THE_CURSOR = b"\x1b[?25h"


@pytest.fixture
def etl(daskctl: Callable[..., Any]) -> dict[str, Any]:
    """A cluster of one worker."""
    made: dict[str, Any] = daskctl("create", "etl", "-n", "1", "--threads", "1", "--memory", "512MiB")
    return made


@pytest.fixture
def shown(daemon: DaemonProcess) -> Iterator[Terminal]:
    """A terminal on which all clusters are shown, often asked for."""
    with terminal("top", "--interval", "200ms", env=daemon.env) as opened:
        yield opened


def check_left_as_found(shown: Terminal) -> None:
    """Keys are echoed again, the screen that was there before is back, and so is the cursor."""
    assert shown.attributes() == shown.attributes_before
    assert shown.written.count(b"\x1b[?1049h") == shown.written.count(LEAVES_THE_SCREEN)
    assert shown.written.rindex(SHOWS_THE_CURSOR) > shown.written.rindex(b"\x1b[?25l")


def test_clusters_are_shown_as_they_come_scale_and_go(shown: Terminal, daskctl: Callable[..., Any]) -> None:
    """Without a key being pressed."""
    shown.until_shown("No clusters")
    daskctl("create", "etl", "-n", "2", "--threads", "1", "--memory", "512MiB")
    shown.until_shown("etl", "RUNNING", "2/2", "/ 1 GiB")
    daskctl("scale", "etl", "1")
    shown.until_shown("etl", "1/1", "/ 512 MiB")
    daskctl("adapt", "etl", "--min", "1", "--max", "3")
    shown.until_shown("etl", "of 1..3")
    daskctl("delete", "etl")
    shown.until_shown("etl", "STOPPED")


def test_the_daemons_death_and_its_return_are_shown(
    shown: Terminal, daemon: DaemonProcess, etl: dict[str, Any], daskctl: Callable[..., Any]
) -> None:
    """After kill -9 the last that was known stays on the screen; then it goes on by itself."""
    shown.until_shown("etl", "1/1")
    daemon.kill()
    lines = shown.until_shown("The daemon does not answer since")
    assert any("etl" in line and "1/1" in line for line in lines)
    daemon.start()
    shown.until(lambda lines: not any("does not answer" in line for line in lines), "it is back")
    daskctl("scale", "etl", "2")
    shown.until_shown("etl", "2/2")


def test_keys_open_a_cluster_and_lead_back(shown: Terminal, etl: dict[str, Any]) -> None:
    """Its workers and events, from before it was opened too; q leaves with code 0."""
    shown.until_shown("etl", "1/1")
    shown.press("\r")
    shown.until_shown("default-0", "RUNNING", "/ 512 MiB")
    shown.until_shown("CREATED created by")
    shown.press("?")
    shown.until_shown("leave this help")
    shown.press("x")
    shown.until_shown("default-0")
    shown.press("\x1b")
    shown.until_shown("OWNER")
    shown.press("q")
    assert shown.exit_code() == 0
    check_left_as_found(shown)


def test_a_named_cluster_shows_its_workers_and_events_as_they_happen(
    daemon: DaemonProcess, etl: dict[str, Any], daskctl: Callable[..., Any]
) -> None:
    """At any size that the terminal is given."""
    with terminal("top", "etl", "--interval", "200ms", env=daemon.env) as shown:
        shown.until_shown("default-0", "RUNNING")
        daskctl("scale", "etl", "2")
        shown.until_shown("default-1", "RUNNING")
        shown.until_shown("SCALED", "2 workers")
        shown.resize(60, 12)
        shown.until(lambda lines: lines[11].startswith("q quit"), "the last line of twelve has the keys")
        shown.resize(100, 30)
        shown.until(lambda lines: lines[29].startswith("q quit"), "the last line of thirty has the keys")
        daskctl("delete", "etl")
        shown.until_shown("etl", "STOPPED")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda shown: shown.press("\x03"), 130),
        (lambda shown: shown.process.send_signal(signal.SIGTERM), -signal.SIGTERM),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_what_ends_it_leaves_the_terminal_as_it_was(
    shown: Terminal, end: Callable[[Terminal], None], code: int
) -> None:
    """With the exit code that shells know for it."""
    shown.until_shown("No clusters")
    assert shown.attributes() != shown.attributes_before
    end(shown)
    assert shown.exit_code() == code
    check_left_as_found(shown)


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(shown: Terminal) -> None:
    """As any program of a shell's job control."""
    shown.until_shown("No clusters")
    shown.press("\x1a")
    stat = Path(f"/proc/{shown.process.pid}/stat")
    shown.until(lambda _lines: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
    shown.lines()
    check_left_as_found(shown)
    os.kill(shown.process.pid, signal.SIGCONT)
    shown.until(lambda _lines: shown.attributes() != shown.attributes_before, "it has the terminal again")
    shown.press("?")
    shown.until_shown("leave this help")


def run(daemon: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `daskctl` in pipes."""
    argv = [sys.executable, "-m", "daskctl", *arguments]
    return subprocess.run(
        argv, env=daemon.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )


def test_once_prints_one_frame_into_a_pipe(daemon: DaemonProcess, etl: dict[str, Any]) -> None:
    """Fields for scripts, and documents; of clusters, and of one cluster's workers."""
    (line,) = run(daemon, "top", "--once").stdout.splitlines()
    fields = line.split("\t")
    assert fields[:5] == ["etl", etl["owner"], "RUNNING", "1/1", "1"]
    assert fields[5].endswith(f"/{512 << 20}")
    assert etl["uid"] in fields
    (worker,) = run(daemon, "top", "etl", "--once").stdout.splitlines()
    assert worker.split("\t")[:3] == ["default-0", "default", "RUNNING"]
    (load,) = json.loads(run(daemon, "top", "--once", "-o", "json").stdout)["clusters"]
    assert (load["cluster"]["uid"], load["nthreads"], load["memory_limit_bytes"]) == (etl["uid"], 1, 512 << 20)


def test_a_name_that_is_none_is_told_before_the_screen_is_taken(daemon: DaemonProcess) -> None:
    """Where it was typed, with exit code 1."""
    with terminal("top", "nothing", env=daemon.env) as shown:
        assert shown.exit_code() == 1
        assert any("nothing" in line for line in shown.lines())
        assert LEAVES_THE_SCREEN not in shown.written
