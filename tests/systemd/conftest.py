"""Fixtures: `box`, a container with a systemd; `daskd`, the daemon installed in it and started."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .machine import ROOT, Machine, Refused, machine

IMPORTS = ":".join(str(ROOT / part) for part in ("", "clients", "proto")).replace("/:", ":")


@pytest.fixture(scope="module")
def box() -> Iterator[Machine]:
    """A container with a systemd as PID 1, in which daskd's files are installed."""
    folder = Path(tempfile.mkdtemp(prefix="dkdsd-", dir="/tmp"))
    try:
        with machine(folder) as made:
            install(made)
            yield made
    except Refused as refusal:
        pytest.skip(f"no systemd can be started here: {refusal}")


def install(box: Machine) -> None:
    """`make install-units`, and the commands of this very environment where the units expect them."""
    argv = ["make", "--no-print-directory", "-C", str(ROOT), "install-units", f"DESTDIR={box.root}", "PREFIX=/usr"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=60)
    for name, package in (("daskd", "daskd"), ("daskctl", "daskctl")):
        script = f'#!/bin/sh\nPYTHONPATH={IMPORTS} exec {sys.executable} -m {package} "$@"\n'
        box.write(f"/usr/bin/{name}", script)
        (box.root / "usr/bin" / name).chmod(0o755)
    # 60 s would be a long test
    box.write("/etc/systemd/system/daskd.service.d/test.conf", "[Service]\nWatchdogSec=10s\nTimeoutAbortSec=5s\n")
    box.run("systemd-sysusers")
    box.run("systemd-tmpfiles", "--create", "daskd.conf")
    box.run("systemctl", "daemon-reload")


@pytest.fixture
def daskd(box: Machine) -> Iterator[Machine]:
    """The system's daemon, started and ready; all of it is gone after the test."""
    box.run("systemctl", "start", "daskd")
    yield box
    box.run("systemctl", "start", "daskd")
    for cluster in daskctl(box)("list")["clusters"]:
        daskctl(box)("delete", cluster["name"])
    box.run("systemctl", "stop", "daskd")


def daskctl(box: Machine, *prefix: str) -> Callable[..., Any]:
    """Runs `daskctl ... -o json` in the container, and answers with the document."""

    def run(*argv: str) -> Any:
        return json.loads(box.run(*prefix, "daskctl", *argv, "-o", "json").stdout)

    return run
