"""Clusters whose scheduler is a job of a real Slurm, end to end, and what may befall it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import Cluster, ClusterSpec, Phase, SchedulerSpec, WorkerGroupSpec
from tests.daemon_process import DaemonProcess, daemon_process, until
from tests.spine.killed_daemon import asked_through_death, eventually, start_armed

from ..placed.leaving import KEYS, recovered, work_and_die
from .lab import PARTITION, Slurm, Unavailable, keys, slurm

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

LIVING = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")
SLOW = 240.0
"""For what the daemon itself waits for a minute or two with."""

JOB = {"queue": PARTITION, "walltime": "00:30:00"}


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm for all tests of this module that a process runs."""
    try:
        with slurm(2) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture
def unstarted(system: Slurm) -> Iterator[DaemonProcess]:
    """A daemon that uses it, not yet started; its jobs are gone after the test."""
    with daemon_process() as process:
        with process.config.open("a") as config:
            config.write(f'[drivers.slurm]\nconf = "{system.conf}"\nper_minute = 6000\npoll = 2\n')
            config.write(f'log_directory = "{process.folder}/shared"\n')
        yield process
        if process.process is not None and process.process.poll() is None:
            process.kill()
        for job in system.jobs(*LIVING):
            system.ask("scancel", job, check=False)
        until(lambda: not system.jobs(*LIVING), "no job is left")


@pytest.fixture
def daemon(unstarted: DaemonProcess) -> DaemonProcess:
    """The same, started."""
    unstarted.start()
    return unstarted


def spec(n: int, **options: Any) -> ClusterSpec:
    """A cluster of jobs, the scheduler one of them, with these options of its own."""
    return ClusterSpec(
        groups=(WorkerGroupSpec(n_workers=n, driver="slurm", nthreads=1, memory_limit="300MB", options=JOB),),
        scheduler=SchedulerSpec(placement="driver", driver_options={**JOB, "memory": "500MB", **options}),
    )


async def comes_to(daskd: AsyncDaskd, phase: Phase, n: int = 0, timeout: float = SLOW, of: str = "sim") -> Cluster:
    """The cluster, once it is in that phase, with so many workers."""
    found: list[Cluster] = []

    async def looked() -> bool:
        found[:] = [await daskd.get(of)]
        return found[0].phase is phase and found[0].groups[0].running == n

    try:
        await eventually(looked, f"{phase.value} with {n} workers", timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from error
    return found[0]


async def told(daskd: AsyncDaskd, type_: str) -> str:
    """The messages of the events of a type, put together."""
    return "\n".join(event.message for event in await daskd.events("sim") if event.type == type_)


def address_of(cluster: Cluster) -> str:
    """Where its scheduler is."""
    assert cluster.scheduler is not None
    return cluster.scheduler.address


async def ends(daskd: AsyncDaskd, system: Slurm) -> None:
    """A delete leaves nothing in the queue."""
    ending = await daskd.delete("sim")
    await comes_to(daskd, Phase.STOPPED, of=ending.uid)
    assert not system.jobs(*LIVING)


def test_a_scheduler_job_lives_through_everything(daemon: DaemonProcess, system: Slurm, tmp_path: Path) -> None:
    """Create, compute, kill -9 of the daemon and of a client, recover, delete: nothing is lost, and nothing left."""
    options = {"walltime": "00:30:00", "memory": "500MB", "port_range": "43000-43099"}
    cluster = RemoteCluster(
        "sim",
        address=daemon.address,
        driver="slurm",
        n_workers=2,
        worker={"nthreads": 1, "memory_limit": "300MB"},
        options=JOB,
        scheduler={"placement": "driver", "driver_options": options},
    )
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=90)
        assert client.gather(client.map(lambda x: x + 1, range(10))) == list(range(1, 11))
        assert 43000 <= int(client.scheduler.address.rpartition(":")[2]) <= 43099
        jobs, workers = system.jobs("RUNNING"), set(client.scheduler_info()["workers"])
        assert len(jobs) == 3
    assert not [line for line in system.processes().values() if "PRIVATE KEY" in line]
    daemon.restart()
    cluster = RemoteCluster.attach("sim", address=daemon.address)
    work_and_die("sim", daemon.address, tmp_path)
    with Client(cluster) as client:
        assert set(client.scheduler_info()["workers"]) == workers
        assert system.jobs("RUNNING") == jobs
        until(lambda: sum(work.keys for work in cluster.lost_work()) == KEYS, "what it left is held")
        assert recovered(cluster, client) == [2 * n for n in range(KEYS)]
    assert "Scheduler at:" in cluster.get_logs(cluster=False, workers=False)["Scheduler"]
    cluster.shutdown()
    until(lambda: not system.jobs(*LIVING), "no job is left")
    until(lambda: not system.processes(), "nothing runs any more")
    until(lambda: not keys(daemon.folder / "shared"), "no key is left")


async def test_a_scheduler_job_that_somebody_cancels_is_replaced(daemon: DaemonProcess, system: Slurm) -> None:
    """scancel behind the daemon's back is told with what is lost; another job takes its place, and its workers join."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1))
        first = await comes_to(daskd, Phase.RUNNING, 1)
        [job] = [line for line in system.jobs("RUNNING") if is_scheduler(system, line)]
        system.ask("scancel", job)

        async def is_told() -> bool:
            return "started again at another address" in await told(daskd, "SCHEDULER_LOST")

        await eventually(is_told, "its loss is told", SLOW)

        async def is_elsewhere() -> bool:
            now = await daskd.get("sim")
            return now.phase is Phase.RUNNING and address_of(now) != address_of(first)

        await eventually(is_elsewhere, "another one runs", SLOW)
        await comes_to(daskd, Phase.RUNNING, 1)
        cluster = await asyncio.to_thread(RemoteCluster.attach, "sim", address=daemon.address)
        with Client(cluster) as client:
            assert await asyncio.to_thread(client.submit(lambda x: x + 1, 1).result) == 2
        cluster.close()
        await ends(daskd, system)


def is_scheduler(system: Slurm, job: str) -> bool:
    """Whether that job, of which the memory tells, is the scheduler's."""
    return system.ask("squeue", "-h", "-r", "-j", job, "-o", "%m").strip().startswith("477M")


async def test_a_scheduler_that_waits_says_why(daemon: DaemonProcess, system: Slurm) -> None:
    """While its job waits no worker is launched, and the cluster has Slurm's words; released, all of it runs."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1, job_extra_directives=["--hold"]))

        async def waits() -> bool:
            return "JobHeldUser" in (await daskd.get("sim")).message

        await eventually(waits, "its wait is told", SLOW)
        cluster = await daskd.get("sim")
        assert (cluster.phase, cluster.reason) == (Phase.STARTING, "SCHEDULER_WAITING")
        [job] = system.jobs(*LIVING)
        system.ask("scontrol", "release", job)
        await comes_to(daskd, Phase.RUNNING, 1)
        await ends(daskd, system)


async def test_a_scheduler_that_can_never_run_fails_with_slurms_words(daemon: DaemonProcess, system: Slurm) -> None:
    """Beyond its partition's limits it is given up after a minute; a partition that is not there fails at once."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(0, walltime="10:00:00"))

        async def is_given_up() -> bool:
            return "PartitionTimeLimit" in await told(daskd, "SCHEDULER_START_FAILED")

        await eventually(is_given_up, "it is given up", SLOW)
        await ends(daskd, system)
        refused = await daskd.create("other", spec(0, queue="nowhere"))
        failed = await comes_to(daskd, Phase.FAILED, of=refused.uid)
        assert "partition" in failed.message.lower()


@pytest.mark.parametrize("point", ["launch.intended", "launch.launched", "scheduler.claimed"])
async def test_a_daemon_killed_while_it_places_a_scheduler_places_one(
    unstarted: DaemonProcess, system: Slurm, point: str
) -> None:
    """Wherever it dies, the next daemon ends up with one scheduler's job and one worker's."""
    start_armed(unstarted, point)
    async with AsyncDaskd(unstarted.address) as daskd:
        await asked_through_death(unstarted, lambda: daskd.create("sim", spec(1), request_id="once"))
        await comes_to(daskd, Phase.RUNNING, 1)
        assert len(system.jobs(*LIVING)) == 2
        await ends(daskd, system)
