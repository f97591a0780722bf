"""Up, down, to zero and back: with nobody connected, through the daemon's death, and with nothing computed twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess, until
from .work import counted, noted

WORKER = {"nthreads": 1, "memory_limit": "512MiB"}


@pytest.fixture
def runs(daemon: DaemonProcess) -> Path:
    """The file in which tasks note their runs."""
    return daemon.folder / "runs"


def instances(daskctl: Callable[..., Any]) -> set[str]:
    """The instances that hold workers of "etl"."""
    return {worker["instance"] for worker in daskctl("workers", "etl")["workers"]}


def running(daskctl: Callable[..., Any]) -> int:
    """How many workers of "etl" have joined and work."""
    return int(daskctl("get", "etl")["groups"][0]["running"])


def test_adaptive_goes_on_with_nobody_connected_and_after_the_daemons_death(
    daemon: DaemonProcess, daskctl: Callable[..., Any], runs: Path
) -> None:
    """Up under load, on through kill -9 of the daemon, down to zero when the work is gone, and back from there."""
    cluster = RemoteCluster("etl", worker=WORKER, address=daemon.address, quiet=True)
    cluster.adapt(minimum=0, maximum=2, interval="500ms", wait_count=2)
    client = cluster.get_client()
    futures = client.map(lambda x: noted(str(runs), x), range(40))
    until(lambda: running(daskctl) == 2, "two workers under load")
    daemon.restart()
    assert client.gather(futures) == [2 * x for x in range(40)]
    del futures
    client.close()
    cluster.close()
    until(lambda: running(daskctl) == 0, "no worker without work, and with nobody connected", 90)
    assert set(counted(runs).values()) == {1}
    told = [event for event in daskctl("events", "etl")["events"] if event["type"] == "ADAPTED_TO"]
    assert {event["facts"]["target"] for event in told} >= {"2", "0"}
    assert all(event["message"] and event["actor"] == "daskd" for event in told)
    again = RemoteCluster.attach("etl", address=daemon.address, quiet=True)
    assert again.get_client().submit(noted, str(runs), 100).result(timeout=60) == 200
    again.close()


def test_scaling_down_moves_results_and_computes_nothing_again(
    daemon: DaemonProcess, daskctl: Callable[..., Any], runs: Path
) -> None:
    """Of four workers with results three go; every result is still there, and was computed once."""
    cluster = RemoteCluster("etl", n_workers=4, worker=WORKER, address=daemon.address, quiet=True)
    cluster.wait_for_workers(4, timeout=60)
    client = cluster.get_client()
    futures = client.map(lambda x: noted(str(runs), x, 0.02), range(100))
    client.gather(futures)
    cluster.scale(1)
    until(lambda: running(daskctl) == 1, "one worker is left")
    until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "the scheduler has one worker")
    assert client.gather(futures) == [2 * x for x in range(100)]
    assert set(counted(runs).values()) == {1}
    cluster.scale(0)
    until(lambda: running(daskctl) == 0, "no worker is left")
    cluster.close()


def test_a_worker_that_computes_is_drained_before_it_goes(
    daemon: DaemonProcess, daskctl: Callable[..., Any], runs: Path
) -> None:
    """Running tasks end where they run, and are not run again elsewhere."""
    cluster = RemoteCluster("etl", n_workers=2, worker=WORKER, address=daemon.address, quiet=True)
    cluster.wait_for_workers(2, timeout=60)
    client = cluster.get_client()
    futures = client.map(lambda x: noted(str(runs), x, 3.0), range(2))
    until(lambda: len(counted(runs)) == 2, "both tasks run")
    cluster.scale(1)
    assert client.gather(futures) == [0, 2]
    until(lambda: running(daskctl) == 1, "one worker is left")
    assert set(counted(runs).values()) == {1}
    cluster.close()


def test_a_worker_with_an_actor_stays_and_says_why(
    daemon: DaemonProcess, daskctl: Callable[..., Any], runs: Path
) -> None:
    """An actor can't be moved: its worker refuses to retire, stays, and the history says so."""
    cluster = RemoteCluster("etl", n_workers=1, worker=WORKER, address=daemon.address, quiet=True)
    client = cluster.get_client()
    counter = client.submit(Counting, actor=True).result(timeout=60)
    cluster.scale(0)
    refused = until(
        lambda: [event for event in daskctl("events", "etl")["events"] if event["type"] == "RETIRE_REFUSED"],
        "the refusal is told",
    )
    assert "actor" in refused[0]["message"]
    assert counter.add().result() == 1
    cluster.close()


class Counting:
    """An actor."""

    def __init__(self) -> None:
        self.n = 0

    def add(self) -> int:
        """One more."""
        self.n += 1
        return self.n


def test_whole_nodes_come_and_go(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """With two workers a node, scaling goes by nodes: up to the next whole one, and down by whole ones."""
    cluster = RemoteCluster("etl", n_workers=2, workers_per_node=2, worker=WORKER, address=daemon.address, quiet=True)
    cluster.wait_for_workers(2, timeout=60)
    cluster.scale(3)
    until(lambda: running(daskctl) == 4, "two nodes of two workers")
    cluster.scale(2)
    until(lambda: running(daskctl) == 2, "one node of two workers")
    until(lambda: len(instances(daskctl)) == 1, "only one node is left")
    cluster.close()
