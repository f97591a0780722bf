"""The daemon dies between any two steps of an act: what it said yes to is done, once, and nothing is lost or left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import Client, Future

from daskd.crashpoints import POINTS
from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import AdaptivePolicy, Cluster, ClusterSpec, Phase, WorkerGroupSpec

from ..daemon_process import DaemonProcess, daemon_process
from .killed_daemon import (
    asked_through_death,
    check_gone,
    check_launched_once,
    converged,
    eventually,
    running_of,
    start_armed,
    supervised,
    wait_for_death,
)

pytestmark = pytest.mark.real

# of the scheduler: a node's launch is a scale up's
CREATE = ("create.recorded", *(f"launch.{step}" for step in ("staged", "intended", "launched", "recorded")))
SCALE_UP = ("desired.recorded", "launch.staged", "launch.intended", "launch.launched", "launch.recorded")
SCALE_DOWN = ("desired.recorded", "retire.intended", "retire.asked", "terminate.intended", "terminate.asked")
CANCEL = ("cancel.fenced",)
SCALES = (*SCALE_UP, *SCALE_DOWN, *CANCEL)
DELETE = (
    "desired.recorded",
    "terminate.intended",
    "terminate.asked",
    "terminate.intended:2",
    "terminate.asked:2",
    "end.recorded",
    "end.unstaged",
)
PLACED = ("scheduler.claimed",)  # by a driver, in tests/drivers/batch/test_slurm_scheduler.py
ADAPT = ("desired.recorded", "adapt.recorded")
RELOAD = ("reload.read", "reload.applied")
MIGRATION = ("migration.step",)  # tests/store/test_migration_death.py
TASKS = 24


def spec(n: int, python: str = "") -> ClusterSpec:
    """So many small workers."""
    return ClusterSpec(groups=(WorkerGroupSpec(n_workers=n, nthreads=1, memory_limit="256MiB"),), python=python)


def test_every_point_is_tried() -> None:
    """No crash point is without a test of an act that reaches it."""
    acts = (*CREATE, *SCALES, *DELETE, *ADAPT, *RELOAD, *MIGRATION, *PLACED)
    tried = {point.partition(":")[0] for point in acts}
    assert tried == set(POINTS)


@pytest.mark.parametrize("point", CREATE)
async def test_a_create_survives(point: str) -> None:
    """A daemon that dies while it makes a cluster makes it, once, when it is back; a repeat makes no other."""
    with daemon_process() as daemon:
        start_armed(daemon, point)
        async with AsyncDaskd(daemon.address) as daskd:
            cluster = await asked_through_death(daemon, lambda: daskd.create("etl", spec(1), request_id="once"))
            assert (await daskd.create("etl", spec(1), request_id="once")).uid == cluster.uid
            await eventually(lambda: converged(daskd, cluster.uid, 1), "it runs")
            await check_launched_once(daemon, daskd, cluster.uid, 1)
            folders = daemon.state_dir / "clusters" / cluster.uid / "instances"
            assert len(os.listdir(folders)) == 2, "nothing was launched but a scheduler and a node"
            assert [each.uid for each in await daskd.list_clusters(include_ended=True)] == [cluster.uid]
            await daskd.delete(cluster.uid)
            await check_nothing_left(daemon, daskd, cluster.uid)
            assert not daemon.processes()


async def check_nothing_left(daemon: DaemonProcess, daskd: AsyncDaskd, uid: str) -> None:
    """It says that it ended, none of its processes runs, its keys and scratch files are gone, its logs are there."""

    async def is_over() -> bool:
        return (await daskd.get(uid)).phase is Phase.STOPPED

    await eventually(is_over, "it has ended")
    await check_gone(daemon, uid)
    folder = daemon.state_dir / "clusters" / uid
    secrets = (folder / "tls", folder / "scratch", folder / "runtime", daemon.state_dir / "credentials" / f"{uid}.json")

    async def is_clean() -> bool:
        return not any(path.exists() for path in secrets)

    await eventually(is_clean, "its keys and scratch files are gone")
    assert [line async for line in daskd.logs(uid, scheduler=True)]


@dataclass
class Lab:
    """A daemon with a cluster of one worker, and a client of it that stays through all the daemon's deaths."""

    daemon: DaemonProcess
    cluster: str
    client: Client
    hold: Path
    """While this file is there, nodes that are launched wait."""

    def compute(self) -> list[Future]:
        """Tasks that take a while and note that they ran."""
        runs = str(self.daemon.folder / "runs")

        def square(x: int) -> int:
            with open(runs, "a", encoding="ascii") as file:
                file.write(f"{x}\n")
            time.sleep(0.1)
            return x * x

        (self.daemon.folder / "runs").write_text("")
        return list(self.client.map(square, range(TASKS), pure=False))

    async def check(self, futures: list[Future]) -> None:
        """Every task has its result and ran once."""
        results = await asyncio.to_thread(self.client.gather, futures)
        assert results == [x * x for x in range(TASKS)]
        ran = Counter((self.daemon.folder / "runs").read_text().split())
        assert set(ran.values()) == {1}
        assert len(ran) == TASKS


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One for all tests of this module that a process runs."""
    with daemon_process() as daemon:
        hold = daemon.folder / "hold"
        python = daemon.folder / "python"
        python.write_text(
            f'#!/bin/sh\nif [ "$3" = node ]; then while [ -e {hold} ]; do sleep 0.05; done; fi\n'
            f'exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        daemon.start()
        cluster = RemoteCluster(
            "lab",
            n_workers=1,
            # with an environment of their own nodes are started by the script, not forked from the zygote
            worker={"nthreads": 1, "memory_limit": "256MiB", "environment": {"OF_ITS_OWN": "1"}},
            python=str(python),
            address=daemon.address,
            quiet=True,
        )
        with cluster, Client(cluster) as client:
            client.wait_for_workers(1)
            yield Lab(daemon, cluster.uid, client, hold)


async def scaled_through_death(lab: Lab, point: str, before: int, after: int, *, held: bool = False) -> None:
    """From a settled count to another while the daemon dies at `point`; what must hold then."""
    async with AsyncDaskd(lab.daemon.address) as daskd:
        if not held:
            await daskd.scale(lab.cluster, before)
            await eventually(lambda: converged(daskd, lab.cluster, before), "it is as it was")
        futures = lab.compute()
        await asyncio.to_thread(lab.daemon.kill)
        await asyncio.to_thread(start_armed, lab.daemon, point)
        scaled = await asked_through_death(lab.daemon, lambda: daskd.scale(lab.cluster, after))
        assert scaled.groups[0].desired == after
        await eventually(lambda: converged(daskd, lab.cluster, after), f"it has {after} workers")
        await check_launched_once(lab.daemon, daskd, lab.cluster, after)
        assert len(lab.client.scheduler_info(n_workers=-1)["workers"]) == after
        await lab.check(futures)


@pytest.mark.parametrize("point", SCALE_UP)
async def test_a_scale_up_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while it adds a worker has added one when it is back; no task fails or runs twice."""
    await scaled_through_death(lab, point, 1, 2)


@pytest.mark.parametrize("point", SCALE_DOWN)
async def test_a_scale_down_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while it retires a worker ends that one and no other; no task fails or runs twice."""
    await scaled_through_death(lab, point, 2, 1)


@pytest.mark.parametrize("point", CANCEL)
async def test_a_cancelled_launch_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while it takes back a launch ends the node that waits, and never the one that works."""
    async with AsyncDaskd(lab.daemon.address) as daskd:
        await daskd.scale(lab.cluster, 1)
        await eventually(lambda: converged(daskd, lab.cluster, 1), "it is as it was")
        (before,) = await daskd.workers(lab.cluster)
        lab.hold.touch()
        try:
            await daskd.scale(lab.cluster, 2)

            async def waits() -> bool:
                return len(supervised(lab.daemon, lab.cluster)) == 3

            await eventually(waits, "the second node was launched")
            await scaled_through_death(lab, point, 2, 1, held=True)
        finally:
            lab.hold.unlink()
        assert [worker.instance for worker in await daskd.workers(lab.cluster)] == [before.instance]


@pytest.mark.parametrize("point", ADAPT)
async def test_an_adapt_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while a policy makes a group larger has made it so when it is back, once; no task fails."""
    async with AsyncDaskd(lab.daemon.address) as daskd:
        await daskd.scale(lab.cluster, 1)
        await eventually(lambda: converged(daskd, lab.cluster, 1), "it is as it was")
        futures = lab.compute()
        await asyncio.to_thread(lab.daemon.kill)
        await asyncio.to_thread(start_armed, lab.daemon, point)
        policy = AdaptivePolicy(minimum=2, maximum=2)
        await asked_through_death(lab.daemon, lambda: daskd.adapt(lab.cluster, policy))
        await eventually(lambda: converged(daskd, lab.cluster, 2), "it has as many as the policy wants")
        await check_launched_once(lab.daemon, daskd, lab.cluster, 2)
        await lab.check(futures)


@pytest.mark.parametrize("point", RELOAD)
async def test_a_reload_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while it reads its configuration again touches nothing, and the next one goes by the file."""
    async with AsyncDaskd(lab.daemon.address) as daskd:
        await daskd.scale(lab.cluster, 1)
        await eventually(lambda: converged(daskd, lab.cluster, 1), "it is as it was")
        before = running_of(lab.daemon, lab.cluster)
        await asyncio.to_thread(lab.daemon.kill)
        await asyncio.to_thread(start_armed, lab.daemon, point)
        assert lab.daemon.process is not None
        lab.daemon.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(wait_for_death, lab.daemon)
        await asyncio.to_thread(lab.daemon.start)
        await eventually(lambda: converged(daskd, lab.cluster, 1), "it is as it was")
        assert running_of(lab.daemon, lab.cluster) == before


@pytest.mark.parametrize("point", DELETE)
async def test_a_delete_survives(lab: Lab, point: str) -> None:
    """A daemon that dies while it ends a cluster ends it when it is back, cleans up, and touches no other."""
    async with AsyncDaskd(lab.daemon.address) as daskd:
        cluster: Cluster = await daskd.create("", spec(1))
        await eventually(lambda: converged(daskd, cluster.uid, 1), "it runs")
        others = running_of(lab.daemon, lab.cluster)
        await asyncio.to_thread(lab.daemon.kill)
        await asyncio.to_thread(start_armed, lab.daemon, point)
        await asked_through_death(lab.daemon, lambda: daskd.delete(cluster.uid))
        await check_nothing_left(lab.daemon, daskd, cluster.uid)
        assert running_of(lab.daemon, lab.cluster) == others
