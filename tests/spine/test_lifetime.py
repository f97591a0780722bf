"""A lifetime: over, whatever is computed, and warned of before."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from daskd_client import ClusterExpiring, RemoteCluster

from ..daemon_process import DaemonProcess, until
from .work import noted


def test_a_lifetime_is_over_whatever_is_computed(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A cluster that computes ends with the reason, and its users were warned in their own processes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cluster = RemoteCluster(
            "etl", n_workers=1, max_lifetime="15s", lifetime_warning="10s", address=daemon.address, quiet=True
        )
        client = cluster.get_client()
        future = client.submit(noted, str(daemon.folder / "runs"), 1, 600.0)
        until(lambda: any(issubclass(each.category, ClusterExpiring) for each in caught), "the user is warned")
        ended = until(lambda: _ended(daskctl, cluster.uid), "the lifetime is over")
        future.release()
        client.close()
        cluster.close()
    assert (ended["phase"], ended["message"]) == ("PHASE_STOPPED", "its lifetime of 15 s is over")
    told = [each for each in caught if issubclass(each.category, ClusterExpiring)]
    assert len(told) == 1
    assert "'etl' ends at" in str(told[0].message)


def test_a_warning_is_told_once_however_often_the_daemon_starts(
    daemon: DaemonProcess, daskctl: Callable[..., Any]
) -> None:
    """A daemon that was killed after the warning ends the cluster in time, and does not warn again."""
    made = daskctl("create", "etl", "--max-lifetime", "30s", "--no-wait")
    assert made["spec"]["lifetime_warning"] == "3s"
    uid = made["uid"]
    until(lambda: "LIFETIME_WARNING" in _types(daskctl, uid), "it is warned of")
    daemon.restart()
    until(lambda: _ended(daskctl, uid), "the lifetime is over")
    assert [each for each in _types(daskctl, uid) if each.startswith("LIFETIME")] == [
        "LIFETIME_WARNING",
        "LIFETIME_OVER",
    ]


def test_a_lifetime_goes_on_while_no_daemon_runs(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A daemon that comes too late ends the cluster at once."""
    made = daskctl("create", "etl", "--max-lifetime", "10s")
    uid, expires = made["uid"], datetime.fromisoformat(made["expire_time"].replace("Z", "+00:00"))
    daemon.kill()
    until(lambda: datetime.now(timezone.utc) > expires, "its time is over")
    assert daemon.processes()
    daemon.start()
    ended = until(lambda: _ended(daskctl, uid), "the lifetime is over")
    assert ended["message"] == "its lifetime of 10 s is over"


def _types(daskctl: Callable[..., Any], uid: str) -> list[str]:
    return [event["type"] for event in daskctl("events", uid)["events"]]


def _ended(daskctl: Callable[..., Any], uid: str) -> Any:
    cluster = daskctl("get", uid)
    return cluster if cluster["end_time"] else None
