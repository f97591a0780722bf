"""What hurts users of other deployment tools, each where it can be seen not to hurt here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess, until
from .cluster_processes import of_role
from .work import counted, noted

WORKER = {"nthreads": 1, "memory_limit": "512MiB"}


def names(daskctl: Callable[..., Any], state: str = "WORKER_STATE_RUNNING") -> set[str]:
    """The workers of "etl" in a state."""
    return {worker["name"] for worker in daskctl("workers", "etl")["workers"] if worker["state"] == state}


@pytest.mark.parametrize("adaptive", [False, True], ids=["scale", "adaptive"])
def test_a_lost_node_of_several_workers_is_replaced(
    daemon: DaemonProcess, daskctl: Callable[..., Any], adaptive: bool
) -> None:
    """All workers of a killed node come back, whether their number is fixed or the policy's (distributed #9102)."""
    cluster = RemoteCluster("etl", n_workers=4, workers_per_node=2, worker=WORKER, address=daemon.address, quiet=True)
    if adaptive:
        cluster.adapt(minimum=4, maximum=4)
    cluster.wait_for_workers(4, timeout=60)
    until(lambda: len(names(daskctl)) == 4, "four workers")
    before = names(daskctl)
    os.kill(of_role(daemon, cluster.uid, "node")[0], signal.SIGKILL)
    until(
        lambda: len(names(daskctl)) == 4 and len(names(daskctl) - before) == 2, "two workers took the dead ones' place"
    )
    assert cluster.get_client().submit(sum, [1, 2]).result(timeout=60) == 3
    cluster.close()


def test_scaling_down_counts_as_no_failure_of_a_task(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """Tasks that may fail with no worker at all see workers come and go, and end well (distributed #3526)."""
    cluster = RemoteCluster(
        "etl",
        n_workers=3,
        worker=WORKER,
        scheduler={"options": {"allowed_failures": 0}},
        address=daemon.address,
        quiet=True,
    )
    cluster.wait_for_workers(3, timeout=60)
    client = cluster.get_client()
    runs = tmp_path / "runs"
    futures = client.map(lambda x: noted(str(runs), x, 0.2), range(60))
    for n_workers in (1, 3, 1):
        until(lambda: len(counted(runs)) > 0, "tasks run")
        cluster.scale(n_workers)
        until(lambda: len(names(daskctl)) == n_workers, f"{n_workers} workers")  # noqa: B023 - waited for here
    assert client.gather(futures) == [2 * x for x in range(60)]
    assert set(counted(runs).values()) == {1}
    cluster.close()


def test_attached_objects_do_not_overwrite_each_other(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """What one of several objects says stands until somebody says otherwise; none keeps a wish of its own."""
    first = RemoteCluster("etl", n_workers=0, worker=WORKER, address=daemon.address, quiet=True)
    second = RemoteCluster.attach("etl", address=daemon.address, quiet=True)
    first.scale(2)
    second.scale(1)
    until(lambda: len(names(daskctl)) == 1, "the last word holds")
    first.close()
    second.adapt(minimum=1, maximum=2)
    second.close()
    (group,) = daskctl("get", "etl")["groups"]
    assert (group["desired"], group["adaptive"]["policy"]["maximum"]) == (1, 2)
