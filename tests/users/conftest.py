"""A root daemon that serves two users, ann and bob."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..daemon_process import DaemonProcess, daemon_process
from .accounts import Account, accounts, in_reach


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs other users needs root, and the tools that make them."""
    able = os.geteuid() == 0 and all(shutil.which(tool) for tool in ("useradd", "userdel", "setpriv", "unshare"))
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "served" in getattr(item, "fixturenames", ()):
            item.add_marker("real")
            item.add_marker(pytest.mark.xdist_group("users"))
            item.add_marker(pytest.mark.skipif(not able, reason="needs root, useradd, setpriv, unshare"))


@dataclass(frozen=True)
class Served:
    """A root daemon, and two of its users."""

    daemon: DaemonProcess
    ann: Account
    bob: Account


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A root daemon for ann and bob; it, they and all that it launched are gone afterwards."""
    config = getattr(request.module, "CONFIG", "")
    with accounts("daskd-ann", "daskd-bob") as (ann, bob), daemon_process(config) as daemon:
        daemon.folder.chmod(0o711)
        daemon.runtime_dir.chmod(0o755)
        daemon.wrap = in_reach
        daemon.start()
        yield Served(daemon, ann, bob)
