"""Adaptive by groups: work grows the group that can run it and no other, and what nobody can run is told."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from distributed import Client, secede

from daskd_client import RemoteCluster, UnplaceableWork

from ..daemon_process import DaemonProcess, until

WORKER = {"nthreads": 1, "memory_limit": "512MiB"}
BIG = {**WORKER, "resources": {"BIG": 1}}
ADAPTIVE = {"minimum": 0, "maximum": 2, "interval": "500ms", "wait_count": 2}


def napping(x: int, seconds: float = 0.2) -> int:
    """2 x, after some seconds."""
    time.sleep(seconds)
    return 2 * x


def group_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A group of a cluster, or of its explanation."""
    found: dict[str, Any] = next(group for group in document["groups"] if group["name"] == name)
    return found


def events(daskctl: Callable[..., Any], type_: str) -> list[dict[str, Any]]:
    """The events of that type of "etl"."""
    return [event for event in daskctl("events", "etl")["events"] if event["type"] == type_]


def grown(daskctl: Callable[..., Any]) -> set[str]:
    """The groups that the policy ever gave a worker."""
    return {event["facts"]["group"] for event in events(daskctl, "ADAPTED_TO") if event["facts"]["target"] != "0"}


def two_groups(daemon: DaemonProcess, **big: Any) -> RemoteCluster:
    """A cluster of small workers, which are preferred, and big ones; both follow the work."""
    groups = {
        "small": {"worker": WORKER, "adaptive": ADAPTIVE},
        "big": {"worker": BIG, "adaptive": {**ADAPTIVE, **big}},
    }
    return RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True)


def test_restricted_work_grows_its_group_and_no_other(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Tasks that only big workers can run start big workers; small ones come when there is work for them."""
    with two_groups(daemon) as cluster, Client(cluster) as client:
        futures = client.map(napping, range(20), resources={"BIG": 1})
        assert client.gather(futures) == [2 * x for x in range(20)]
        assert grown(daskctl) == {"big"}
        assert all(worker["group"] == "big" for worker in daskctl("workers", "etl", "--all")["workers"])
        del futures
        until(lambda: not daskctl("workers", "etl")["workers"], "no worker without work", 90)
        assert client.submit(napping, 1, pure=False).result(timeout=60) == 2
        assert grown(daskctl) == {"big", "small"}


def test_work_that_no_group_can_run_is_told_once_and_grows_nothing(
    daemon: DaemonProcess, daskctl: Callable[..., Any]
) -> None:
    """Event, record, explanation and the user's own process say what is missing; when the work is gone, no more."""
    with warnings.catch_warnings(record=True) as warned, two_groups(daemon) as cluster, Client(cluster) as client:
        warnings.simplefilter("always")
        futures = client.map(napping, range(5), resources={"FPGA": 1})
        told = until(lambda: daskctl("get", "etl")["unplaceable_tasks"], "the record says so")
        assert (told[0]["restriction"], told[0]["count"]) == ("FPGA 1", 5)
        assert "no group has it" in told[0]["message"]
        assert told[0]["message"] in daskctl("explain", "etl")["reasons"]
        until(lambda: [w for w in warned if w.category is UnplaceableWork], "the client warns")
        assert "Cannot run: 5 tasks need FPGA 1" in cluster._scaling_status()
        more = client.map(napping, range(5, 20), resources={"FPGA": 1})
        until(lambda: daskctl("get", "etl")["unplaceable_tasks"][0]["count"] == 20, "the count is kept up")
        assert not daskctl("workers", "etl", "--all")["workers"]
        assert [event["facts"]["restriction"] for event in events(daskctl, "TASKS_UNPLACEABLE")] == ["FPGA 1"]
        client.cancel(futures + more)
        until(lambda: not daskctl("get", "etl")["unplaceable_tasks"], "nothing is told any more")
    assert len([w for w in warned if w.category is UnplaceableWork]) == 1


def test_fixed_groups_are_told_of_too_with_what_would_help(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Without any adaptive group, tasks for a group that has no workers name it; scaled, it runs them."""
    groups = {"small": {"n_workers": 1, "worker": WORKER}, "big": {"n_workers": 0, "worker": BIG}}
    with RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(1, timeout=60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnplaceableWork)
            future = client.submit(napping, 1, resources={"BIG": 1})
            told = until(lambda: daskctl("get", "etl")["unplaceable_tasks"], "the record says so")
        assert "group `big` has 0 workers: scale it" in told[0]["message"]
        cluster.scale(1, group="big")
        assert future.result(timeout=60) == 2
        until(lambda: not daskctl("get", "etl")["unplaceable_tasks"], "nothing is told any more")


def seceding(seconds: float) -> str:
    """Leaves its thread to others and goes on."""
    secede()
    time.sleep(seconds)
    return "done"


def test_a_worker_with_a_seceded_task_is_not_picked(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """When work is gone the policy lets go of all workers but the one on which a task runs on beside its thread."""
    cluster = RemoteCluster("etl", worker=WORKER, adaptive=ADAPTIVE, address=daemon.address, quiet=True)
    with cluster, Client(cluster) as client:
        stays = client.submit(seceding, 30.0)
        until(lambda: any(client.processing().values()), "the task runs")
        client.gather(client.map(napping, range(40)))
        until(lambda: events(daskctl, "WORKER_RETIRED"), "another worker went")
        until(lambda: group_of(daskctl("get", "etl"), "default")["running"] == 1, "one worker is left")
        assert not events(daskctl, "RETIRE_REFUSED")
        assert stays.result(timeout=120) == "done"


@pytest.mark.parametrize(("bounds", "workers"), [({"minimum_cores": 2}, 1), ({"minimum_memory": "1GiB"}, 2)])
def test_a_minimum_in_cores_or_memory_is_kept_in_whole_workers(
    daemon: DaemonProcess, daskctl: Callable[..., Any], bounds: dict[str, Any], workers: int
) -> None:
    """Two cores are one worker of two threads, a gibibyte is two of half of one, without any work."""
    adaptive = {**ADAPTIVE, "minimum": None, **bounds}
    cluster = RemoteCluster(
        "etl", worker={**WORKER, "nthreads": 2}, adaptive=adaptive, address=daemon.address, quiet=True
    )
    with cluster:
        until(lambda: group_of(daskctl("get", "etl"), "default")["running"] == workers, "the minimum is there")
        assert group_of(daskctl("get", "etl"), "default")["desired"] == workers


def test_at_the_maximum_in_memory_the_explanation_says_what_waits(
    daemon: DaemonProcess, daskctl: Callable[..., Any]
) -> None:
    """A gibibyte allows two workers, however much work there is; who asks is told why there are no more."""
    adaptive = {**ADAPTIVE, "maximum": None, "maximum_memory": "1GiB"}
    cluster = RemoteCluster("etl", worker=WORKER, adaptive=adaptive, address=daemon.address, quiet=True)
    with cluster, Client(cluster) as client:
        futures = client.map(napping, range(200), seconds=0.5)
        until(
            lambda: any("the maximum of 2" in reason for reason in cluster.explain().groups[0].reasons),
            "the explanation names the maximum",
        )
        explanation = cluster.explain()
        assert explanation.groups[0].target == 2
        assert explanation.groups[0].ready_tasks > 0
        assert "Group default, 2 workers wanted (adaptive)" in repr(explanation)
        client.cancel(futures)


def test_so_many_now_then_as_the_work_asks_and_never_before_it_has_cooled_down(
    daemon: DaemonProcess, daskctl: Callable[..., Any]
) -> None:
    """`initial` workers come without work and stay; after the work they are held for the cool-down, which is said."""
    adaptive = {**ADAPTIVE, "initial": 2, "cool_down": "1h"}
    cluster = RemoteCluster("etl", worker=WORKER, adaptive=adaptive, address=daemon.address, quiet=True)
    with cluster, Client(cluster) as client:
        until(lambda: group_of(daskctl("get", "etl"), "default")["running"] == 2, "two to begin with")
        client.gather(client.map(napping, range(4), seconds=6.0))  # more than one worker is worth keeping for
        until(
            lambda: any("the cool-down is 60 min" in reason for reason in cluster.explain().groups[0].reasons),
            "the reason names the cool-down",
        )
        assert group_of(daskctl("get", "etl"), "default")["running"] == 2


def test_the_explanation_of_a_failing_group_has_its_words_and_its_next_try(
    daemon: DaemonProcess, daskctl: Callable[..., Any]
) -> None:
    """A group whose workers cannot start is explained by how often that failed, when it is tried again, and why."""
    groups = {
        "good": {"n_workers": 1, "worker": WORKER},
        "bad": {"n_workers": 0, "worker": {**WORKER, "local_directory": "/proc/nowhere"}},
    }
    with RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True) as cluster:
        cluster.wait_for_workers(1, timeout=60)
        cluster.scale(1, group="bad")
        until(lambda: group_of(daskctl("get", "etl"), "bad")["failures"] >= 2, "two launches failed")
        explained = group_of(daskctl("explain", "etl"), "bad")
        assert (explained["target"], explained["decided_by"]) == (1, "count")
        assert "launches failed, the next try is" in explained["reasons"][0]
        assert any("shall have 1 workers instead of 0" in reason for reason in explained["reasons"])
