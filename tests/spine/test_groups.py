"""Worker groups of one cluster: each as it was asked for, added, scaled and removed while it computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import get_worker

from daskd_client import AsyncDaskd, GroupNotFound, RemoteCluster
from daskd_client.types import Cluster, ClusterSpec, Event, Phase, SchedulerSpec, WorkerGroupSpec

from ..daemon_process import DaemonProcess, daemon_process, until
from .killed_daemon import asked_through_death, eventually, start_armed, supervised
from .work import counted, noted

pytestmark = pytest.mark.real

SMALL = {"nthreads": 1, "memory_limit": "256MiB"}
FEATURES = """
import os
from distributed import Worker

class OwnWorker(Worker):
    kind = "own"

def dask_setup(worker):
    worker.preloaded = os.getcwd()
"""


@pytest.fixture
def runs(daemon: DaemonProcess) -> Path:
    """The file in which tasks note their runs."""
    return daemon.folder / "runs"


def group_of_worker() -> str:
    """The group of the worker that runs this."""
    return str(get_worker().name).rpartition("-")[0]


def names(daskctl: Callable[..., Any]) -> list[str]:
    """The groups that "etl" has."""
    return [group["name"] for group in daskctl("get", "etl")["groups"]]


def running(daskctl: Callable[..., Any], group: str) -> int:
    """How many workers of a group of "etl" have joined and work."""
    return sum(each["running"] for each in daskctl("get", "etl")["groups"] if each["name"] == group)


def test_tasks_run_where_their_resources_are(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """Of two groups only one has the resource: what asks for it runs there, and the memory limits are each group's."""
    groups = {
        "default": {"n_workers": 1, "worker": SMALL},
        "highmem": {"n_workers": 1, "worker": {**SMALL, "memory_limit": "512MiB", "resources": {"MEM": 1}}},
    }
    cluster = RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True)
    cluster.wait_for_workers(2, timeout=60)
    client = cluster.get_client()
    where = client.gather([client.submit(group_of_worker, resources={"MEM": 1}, pure=False) for _ in range(4)])
    assert set(where) == {"highmem"}
    limits = {worker["group"]: worker["memory_limit_bytes"] for worker in daskctl("workers", "etl")["workers"]}
    assert limits == {"default": 256 << 20, "highmem": 512 << 20}
    cluster.close()


def test_a_group_comes_and_goes_while_the_cluster_computes(
    daemon: DaemonProcess, daskctl: Callable[..., Any], runs: Path
) -> None:
    """What waits for a resource runs once a group has it; when the group goes, its results stay and none runs again."""
    cluster = RemoteCluster("etl", n_workers=1, worker=SMALL, address=daemon.address, quiet=True)
    client = cluster.get_client()
    common = client.map(lambda x: noted(str(runs), x), range(20))
    special = client.map(lambda x: noted(str(runs), x, 0.01), range(100, 120), resources={"MEM": 1})
    cluster.add_worker_group("highmem", n_workers=2, worker={**SMALL, "resources": {"MEM": 1}})
    cluster.add_worker_group("highmem", n_workers=2, worker={**SMALL, "resources": {"MEM": 1}})
    assert client.gather(special) == [2 * x for x in range(100, 120)]
    cluster.remove_worker_group("highmem")
    until(lambda: names(daskctl) == ["default"], "the group is gone")
    until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "its workers are gone")
    assert client.gather(special) == [2 * x for x in range(100, 120)]
    assert client.gather(common) == [2 * x for x in range(20)]
    assert set(counted(runs).values()) == {1}
    told = [event["type"] for event in daskctl("events", "etl")["events"] if event["type"].startswith("GROUP")]
    assert told == ["GROUP_ADDED", "GROUP_REMOVAL_REQUESTED", "GROUP_REMOVED"]
    cluster.add_worker_group("highmem", n_workers=1, worker=SMALL)
    until(lambda: running(daskctl, "highmem") == 1, "another of that name may come")
    cluster.close()


def test_groups_are_scaled_by_cores_and_memory(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """In whole workers, rounded up, each group by its own workers' size."""
    groups = {"default": {"worker": SMALL}, "wide": {"worker": {"nthreads": 2, "memory_limit": "256MiB"}}}
    cluster = RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True)
    cluster.scale(cores=3, group="wide")
    until(lambda: running(daskctl, "wide") == 2, "two workers of two threads")
    cluster.scale(memory="257MiB")
    until(lambda: running(daskctl, "default") == 2, "two workers of 256 MiB")
    cluster.scale(0, group="wide")
    until(lambda: running(daskctl, "wide") == 0, "none is left")
    assert running(daskctl, "default") == 2
    cluster.close()


def features() -> dict[str, Any]:
    """What a task sees of the worker that runs it."""
    worker: Any = get_worker()
    return {
        "python": os.environ.get("FROM_PYTHON"),
        "cwd": os.getcwd(),
        "variable": os.environ.get("FROM_GROUP"),
        "prologue": os.environ.get("FROM_PROLOGUE"),
        "kind": getattr(worker, "kind", None),
        "preloaded": getattr(worker, "preloaded", None),
        "option": worker.state.transition_counter_max,
    }


def test_a_group_is_as_it_was_asked_for(daemon: DaemonProcess) -> None:
    """Python, folder, environment, prologue, preload, class and options are its own, seen from its tasks alone."""
    folder = daemon.folder / "own"
    folder.mkdir()
    (folder / "own_features.py").write_text(FEATURES)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nFROM_PYTHON=1 exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    own = {
        "n_workers": 1,
        "python": str(python),
        "cwd": str(folder),
        "environment": {"FROM_GROUP": "it's 1"},
        "prologue": 'false\nexport FROM_PROLOGUE="$FROM_GROUP and more"',
        "worker": {
            **SMALL,
            "resources": {"OWN": 1},
            "preload": "own_features.py",
            "worker_class": "own_features.OwnWorker",
            "options": {"transition_counter_max": 123_456_789},
        },
    }
    groups = {"default": {"n_workers": 1, "worker": {**SMALL, "resources": {"COMMON": 1}}}, "own": own}
    cluster = RemoteCluster("etl", groups=groups, address=daemon.address, quiet=True)
    client = cluster.get_client()
    seen = client.submit(features, resources={"OWN": 1}).result(timeout=60)
    common = client.submit(features, resources={"COMMON": 1}, pure=False).result(timeout=60)
    assert seen == {
        "python": "1",
        "cwd": str(folder),
        "variable": "it's 1",
        "prologue": "it's 1 and more",
        "kind": "own",
        "preloaded": str(folder),
        "option": 123_456_789,
    }
    assert common == {
        "python": None,
        "cwd": os.getcwd(),
        "variable": None,
        "prologue": None,
        "kind": None,
        "preloaded": None,
        "option": False,
    }
    cluster.close()


def test_a_scheduler_is_as_it_was_asked_for(daemon: DaemonProcess) -> None:
    """Its preload, options and prologue."""
    preload = daemon.folder / "scheduler_preload.py"
    preload.write_text("import os\ndef dask_setup(scheduler):\n    scheduler.preloaded = os.environ['FROM_PROLOGUE']\n")
    scheduler = {
        "preload": [str(preload)],
        "options": {"allowed_failures": 17},
        "prologue": ["export FROM_PROLOGUE=here"],
    }
    cluster = RemoteCluster("etl", scheduler=scheduler, address=daemon.address, quiet=True)
    client = cluster.get_client()
    seen = client.run_on_scheduler(lambda dask_scheduler: (dask_scheduler.preloaded, dask_scheduler.allowed_failures))
    assert seen == ("here", 17)
    cluster.close()


@pytest.fixture(scope="module")
def served() -> Iterator[DaemonProcess]:
    """One daemon for all tests of this module that a group fails."""
    with daemon_process("[clusters]\nmax_launch_failures = 3\n") as daemon:
        daemon.start()
        yield daemon


def without_distributed(folder: Path) -> dict[str, Any]:
    """A Python that has no packages of its own."""
    python = folder / "bare-python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    return {"python": str(python)}


NEVER: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no distributed": (without_distributed, "distributed can't be imported"),
    "no such class": (lambda _: {"worker_class": "no_such_module.Worker"}, "worker class 'no_such_module.Worker'"),
    "no worker": (lambda _: {"worker_class": "os.PathLike"}, "no subclass of distributed.Worker"),
    "no such option": (lambda _: {"worker_options": {"no_such_option": 1}}, "no_such_option"),
    "no such preload": (lambda _: {"preload": ("no_such_preload",)}, "no_such_preload"),
    "prologue exits": (lambda _: {"prologue": ("echo no licence left", "exit 3")}, "no licence left"),
}


@pytest.mark.parametrize("what", NEVER)
async def test_a_group_that_can_not_start_says_why_and_harms_no_other(served: DaemonProcess, what: str) -> None:
    """Its message names the cause; the cluster runs on with its other group, and the group can be removed."""
    make, words = NEVER[what]
    wrong = WorkerGroupSpec(name="wrong", n_workers=1, nthreads=1, memory_limit="256MiB", **make(served.folder))
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", spec(1))
        await eventually(lambda: counts(daskd, cluster.uid, default=1), "it runs")
        await daskd.add_worker_group(cluster.uid, wrong)

        async def is_told() -> bool:
            return words in (await daskd.get(cluster.uid)).group("wrong").message

        await eventually(is_told, f"its message says {words!r}")
        await daskd.remove_worker_group(cluster.uid, "wrong")
        await eventually(lambda: counts(daskd, cluster.uid, default=1), "only the other is left")
        await daskd.delete(cluster.uid)


SCHEDULERS = {
    "no_such_preload": SchedulerSpec(preload=("no_such_preload",)),
    "no_such_option": SchedulerSpec(options={"no_such_option": 1}),
    "no licence left": SchedulerSpec(prologue=("echo no licence left", "exit 3")),
}


@pytest.mark.parametrize("words", SCHEDULERS)
async def test_a_scheduler_that_can_not_start_says_why(served: DaemonProcess, words: str) -> None:
    """After a few tries the cluster is FAILED, with the cause in its message."""
    async with AsyncDaskd(served.address) as daskd:
        uid = (await daskd.create("", ClusterSpec(scheduler=SCHEDULERS[words]))).uid

        async def has_failed() -> bool:
            return (await daskd.get(uid)).phase is Phase.FAILED

        await eventually(has_failed, "it has failed")
        assert words in (await daskd.get(uid)).message


def spec(*n_workers: int) -> ClusterSpec:
    """A group "default" of so many small workers, and a group "more"."""
    groups = [
        WorkerGroupSpec(name=name, n_workers=n, nthreads=1, memory_limit="256MiB")
        for name, n in zip(("default", "more"), n_workers, strict=False)
    ]
    return ClusterSpec(groups=tuple(groups))


async def counts(daskd: AsyncDaskd, uid: str, **expected: int) -> bool:
    """Whether a cluster has just these groups, with so many workers, none coming or going."""
    cluster: Cluster = await daskd.get(uid)
    now = {group.name: (group.running, group.pending, group.ending) for group in cluster.groups}
    return now == {name: (n, 0, 0) for name, n in expected.items()}


async def told(daskd: AsyncDaskd, uid: str, type_: str) -> list[Event]:
    """Events of one type."""
    return [event for event in await daskd.events(uid) if event.type == type_]


async def removed(daskd: AsyncDaskd, group: str) -> Cluster:
    """A group of "etl" that shall go; one that a daemon which died was told of may be gone by now."""
    try:
        return await daskd.remove_worker_group("etl", group)
    except GroupNotFound:
        return await daskd.get("etl")


REMOVAL = ("desired.recorded", "retire.intended", "retire.asked", "terminate.intended", "terminate.asked")


@pytest.mark.parametrize("point", REMOVAL)
async def test_a_removal_survives_the_daemon(point: str) -> None:
    """A daemon that dies in the middle of it goes on when it is back: the group goes once, and the other stays."""
    with daemon_process() as daemon:
        daemon.start()
        async with AsyncDaskd(daemon.address) as daskd:
            uid = (await daskd.create("etl", spec(1, 1))).uid
            await eventually(lambda: counts(daskd, uid, default=1, more=1), "it runs")
            daemon.kill()
            start_armed(daemon, point)
            await asked_through_death(daemon, lambda: removed(daskd, "more"))
            await eventually(lambda: counts(daskd, uid, default=1), "the group is gone")
            assert len(await told(daskd, uid, "GROUP_REMOVED")) == 1
            await eventually(lambda: is_alone(daemon, uid), "only scheduler and one node are left")


async def is_alone(daemon: DaemonProcess, uid: str) -> bool:
    """Whether a scheduler and one node are all that is supervised, each once."""
    found = supervised(daemon, uid)
    return len(found) == 2 and set(found.values()) == {1}


async def test_an_addition_survives_the_daemon() -> None:
    """One that was recorded when the daemon died comes once, and a repeat of the call brings no other."""
    with daemon_process() as daemon:
        daemon.start()
        async with AsyncDaskd(daemon.address) as daskd:
            uid = (await daskd.create("etl", spec(1))).uid
            await eventually(lambda: counts(daskd, uid, default=1), "it runs")
            daemon.kill()
            start_armed(daemon, "desired.recorded")
            more = spec(1, 1).groups[1]
            await asked_through_death(daemon, lambda: daskd.add_worker_group("etl", more))
            await daskd.add_worker_group("etl", more)
            await eventually(lambda: counts(daskd, uid, default=1, more=1), "both groups run")
            assert len(await told(daskd, uid, "GROUP_ADDED")) == 1
