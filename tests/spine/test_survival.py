"""The main promise: clusters, and the work in them, outlive the sessions that asked for them and the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..daemon_process import DaemonProcess, until


def test_a_cluster_runs_on_through_the_daemons_kill(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """kill -9 of the daemon touches no process of a cluster, and a new daemon has it again and can end it."""
    daskctl("create", "etl", "-n", "2")
    before = daemon.processes()
    daemon.kill()
    assert daemon.processes() == before
    daemon.start()
    cluster = until(lambda: _running(daskctl, 2), "the cluster is adopted")
    assert daemon.processes() == before
    assert cluster["name"] == "etl"
    daskctl("delete", "etl")
    until(lambda: not daemon.processes(), "nothing is left running")


def _running(daskctl: Callable[..., Any], n: int) -> Any:
    cluster = daskctl("get", "etl")
    ready = cluster["phase"] == "PHASE_RUNNING" and cluster["groups"][0]["running"] == n
    return cluster if ready else None
