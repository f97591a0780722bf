"""A cluster whose scheduler is killed: it goes on, begins empty or fails, as its spec says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daskd_client import DaskdError, RemoteCluster

from ..client.tasks import behind, increment
from ..daemon_process import DaemonProcess, daemon_process, until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def served() -> Iterator[DaemonProcess]:
    """One daemon for all tests of this module that a process runs."""
    with daemon_process() as daemon:
        daemon.start()
        yield daemon


@pytest.fixture
def make(served: DaemonProcess) -> Iterator[Callable[..., RemoteCluster]]:
    """Makes clusters of one worker, which end with the test."""
    made: list[RemoteCluster] = []

    def cluster(policy: str | None) -> RemoteCluster:
        asked = {"n_workers": 1, "worker": {"nthreads": 4}, "address": served.address}
        found = RemoteCluster(on_scheduler_loss=policy, cwd=str(Path(__file__).parents[2]), **asked)
        made.append(found)
        found.wait_for_workers(1, timeout=60)
        # what a node has not seen start is started anew
        until(lambda: "worker-started" in str(found.get_logs()), "its node has seen its worker start")
        return found

    yield cluster
    for each in made:
        with suppress(DaskdError):  # one has failed, as it should
            each.shutdown()


def kill_scheduler(cluster: RemoteCluster) -> None:
    """Kill it, once the daemon has heard of it."""
    record = until(lambda: cluster.record if cluster.record.scheduler.pid else None, "its scheduler is known")
    os.kill(record.scheduler.pid, signal.SIGKILL)


def told(cluster: RemoteCluster, type_: str) -> str:
    """The message of the cluster's event of that type, once there is one."""

    def found() -> str:
        events = cluster.sync(cluster._view.daskd.events, cluster.uid)
        return next((event.message for event in events if event.type == type_), "")

    return until(found, f"{type_} is told")


def begun(gate: Path) -> list[str]:
    """The tasks that have begun behind a gate."""
    notes = Path(f"{gate}.begun")
    return notes.read_text().split() if notes.exists() else []


def test_a_clients_futures_live_through_the_schedulers_death(
    make: Callable[..., RemoteCluster], tmp_path: Path
) -> None:
    """kill -9 of the scheduler: the same futures have their results, and what was finished does not run again."""
    cluster, gate, early = make(None), tmp_path / "gate", tmp_path / "early"
    early.touch()
    with cluster.get_client() as client:
        done = client.submit(behind, str(early), 7)
        assert done.result(60) == 7
        waits = client.submit(behind, str(gate), 1)
        after = client.submit(increment, waits)
        until(lambda: begun(gate), "it runs")
        until(lambda: cluster.record.scheduler.resumable, "it is shown as resumable")
        kill_scheduler(cluster)
        assert "1 results that workers kept" in told(cluster, "RESUMED")
        gate.touch()
        assert (after.result(60), waits.result(60), done.result(60)) == (2, 1, 7)
        assert begun(early) == ["7"]
    assert "goes on with its work" in told(cluster, "SCHEDULER_LOST")
    assert len(cluster.scheduler_info["workers"]) == 1


def test_work_of_a_client_that_died_too_is_recovered(make: Callable[..., RemoteCluster], tmp_path: Path) -> None:
    """Work that was held for a lost client when its scheduler died is recovered from the next one."""
    cluster, gate = make("resume"), tmp_path / "gate"
    lost = cluster.get_client()
    future = lost.submit(behind, str(gate), 3, key="held")
    until(lambda: begun(gate), "it runs")
    lost.sync(abandon, lost)
    until(cluster.lost_work, "it is held")
    kill_scheduler(cluster)
    told(cluster, "RESUMED")
    gate.touch()
    with cluster.get_client() as client:
        assert client.gather(cluster.recover(client)) == {"held": 3}
    assert future.key == "held"


async def abandon(client: Any) -> None:
    """Break a client's connection for good, as the end of its machine does."""
    client.status = "closing"
    client.scheduler_comm.comm.abort()


def test_a_cluster_may_begin_empty(make: Callable[..., RemoteCluster], tmp_path: Path) -> None:
    """With "restart" what died with the scheduler is lost, and told so; the same client computes with the next one."""
    cluster, gate = make("restart"), tmp_path / "gate"
    with cluster.get_client() as client:
        future = client.submit(behind, str(gate), 1)
        until(lambda: begun(gate), "it runs")
        assert not cluster.record.scheduler.resumable
        kill_scheduler(cluster)
        with pytest.raises(CancelledError):
            future.result(60)
        assert client.submit(increment, 2).result(60) == 3
    assert "are lost" in told(cluster, "SCHEDULER_LOST")
    gate.touch()


def test_a_cluster_may_fail_with_its_scheduler(make: Callable[..., RemoteCluster]) -> None:
    """With "fail" the scheduler's death ends the cluster, which says why."""
    cluster = make("fail")
    kill_scheduler(cluster)
    assert "SIGKILL" in told(cluster, "FAILED")
    until(lambda: cluster.sync(cluster._view.daskd.get, cluster.uid).end_time, "it has ended")
