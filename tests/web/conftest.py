"""A daemon that serves dashboards, on a port of loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..daemon_process import DaemonProcess, daemon_process

CONFIG = """
[web]
listen = "127.0.0.1:0"
[tls]
loopback_without_tls_though_others_could_pose_as_daskd = true
"""


@pytest.fixture
def daemon() -> Iterator[DaemonProcess]:
    """A real daemon, ready; whatever it launched is gone after the test."""
    with daemon_process(CONFIG) as process:
        process.start()
        yield process
