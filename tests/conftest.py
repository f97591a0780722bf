"""Fixtures of the whole suite: `daemon`, a real one that is ready; `daskctl`, which runs the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from .daemon_process import DaemonProcess, daemon_process

# they run in an environment of their own: `make test-browser`
collect_ignore = [] if find_spec("selenium") else ["browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a daemon is marked `real`."""
    for item in items:
        if {"daemon", "shared_daemon"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("real")


@pytest.fixture
def daemon() -> Iterator[DaemonProcess]:
    """A real daemon, ready; whatever it launched is gone after the test."""
    with daemon_process() as process:
        process.start()
        yield process


@pytest.fixture
def daskctl(daemon: DaemonProcess) -> Callable[..., Any]:
    """Runs `daskctl ... -o json` against the daemon and answers with the document."""

    def run(*argv: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "daskctl", *argv, "-o", "json"],
            env=daemon.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"daskctl {' '.join(argv)}: {done.stderr}\n{daemon.log.read_text()[-3000:]}"
        return json.loads(done.stdout)

    return run
