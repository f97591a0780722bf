"""The idle timeout: ends what is idle, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess, until
from .work import noted

WORKER = {"nthreads": 1, "memory_limit": "512MiB"}

LOST_SESSION = """
import os, signal, sys
from daskd_client import RemoteCluster
cluster = RemoteCluster.attach("etl", quiet=True)
client = cluster.get_client()
future = client.submit(pow, 7, 2)
future.result()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_idle_cluster_ends_and_says_why(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Nothing to do for as long as its spec says: stopped, with the reason as its last word."""
    made = daskctl("create", "etl", "-n", "1", "--idle-timeout", "2s")
    cluster = until(lambda: _ended(daskctl, made["uid"]), "the idle cluster has ended")
    assert cluster["phase"] == "PHASE_STOPPED"
    assert "idle" in cluster["message"]
    until(lambda: not daemon.processes(), "nothing is left running")


def test_work_that_runs_is_not_idle(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A task that takes longer than the timeout comes to its end."""
    cluster = RemoteCluster("etl", n_workers=1, worker=WORKER, idle_timeout="2s", address=daemon.address, quiet=True)
    client = cluster.get_client()
    assert client.submit(noted, str(daemon.folder / "runs"), 1, 8.0).result(timeout=60) == 2
    cluster.close()


def test_work_that_waits_for_its_owner_is_not_idle(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """What a lost client left keeps the cluster, until it is discarded."""
    made = daskctl("create", "etl", "-n", "1", "--memory", "512MiB", "--idle-timeout", "10s")
    subprocess.run([sys.executable, "-c", LOST_SESSION], env={**os.environ, **daemon.env}, check=False, timeout=60)
    held = until(lambda: daskctl("lost", "etl")["held_work"], "the lost client's work is held")
    assert held[0]["keys"] == 1
    # bounded waiting, with a cluster that must not end meanwhile
    since = daskctl("get", "etl")["update_time"]
    until(lambda: _later(daskctl, since, 20.0), "twice the timeout has passed")
    assert daskctl("get", "etl")["phase"] == "PHASE_RUNNING"
    daskctl("lost", "etl", "--discard")
    until(lambda: _ended(daskctl, made["uid"]), "without held work it is idle")


def _ended(daskctl: Callable[..., Any], uid: str) -> Any:
    cluster = daskctl("get", uid)
    return cluster if cluster["end_time"] else None


def _later(daskctl: Callable[..., Any], since: str, seconds: float) -> bool:
    begun = datetime.fromisoformat(since.replace("Z", "+00:00"))
    daskctl("get", "etl")  # fails once the cluster has ended
    return (datetime.now(timezone.utc) - begun).total_seconds() > seconds


def test_an_idle_cluster_may_keep_its_scheduler(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Told to scale to zero, it loses its workers once, goes on, and computes again when it is given some."""
    made = daskctl("create", "etl", "-n", "2", "--memory", "512MiB", "--idle-timeout", "2s", "--on-idle=scale-to-zero")
    until(lambda: _workers(daskctl) == (0, 0), "the idle cluster has no workers")
    daskctl("scale", "etl", "1", "--no-wait")
    with RemoteCluster.attach("etl", address=daemon.address, quiet=True) as cluster, cluster.get_client() as client:
        assert client.submit(pow, 7, 2).result(timeout=60) == 49
    until(lambda: _workers(daskctl) == (0, 0), "it is idle again")
    assert daskctl("get", made["uid"])["phase"] == "PHASE_RUNNING"
    events = [event for event in daskctl("events", "etl")["events"] if event["type"] == "IDLE_SCALED"]
    assert [event["facts"]["from.default"] for event in events] == ["2", "1"]
    assert "daskctl scale etl N" in events[0]["message"]


def test_results_that_a_client_holds_are_not_scaled_away(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """An idle cluster keeps a worker for them, and goes to zero when they are wanted no more."""
    cluster = RemoteCluster(
        "etl",
        n_workers=2,
        worker=WORKER,
        idle_timeout="2s",
        on_idle="scale_to_zero",
        address=daemon.address,
        quiet=True,
    )
    client = cluster.get_client()
    futures = client.map(str, range(20))
    client.gather(futures)
    until(lambda: _workers(daskctl) == (1, 1), "one worker is left")
    assert client.gather(futures) == [str(n) for n in range(20)]
    del futures
    until(lambda: _workers(daskctl) == (0, 0), "nothing holds workers")
    client.close()
    cluster.close()


def _workers(daskctl: Callable[..., Any]) -> tuple[int, int]:
    """How many there should be, and how many there are, on their way out ones included."""
    (group,) = daskctl("get", "etl")["groups"]
    return group["desired"], group["running"] + group["ending"] + group["pending"]
