"""What befalls jobs on a real Slurm: what their users are told, what becomes of the cluster, and what is not ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import AdaptivePolicy, Cluster, Phase
from tests.daemon_process import DaemonProcess
from tests.spine.killed_daemon import eventually

from .clusters import NAME, SLOW, comes_to, eventually_true, has, is_told, spec, told
from .lab import CORES_OF_NODE, LIVING, PARTITION, Slurm

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

COOL_DOWN = timedelta(minutes=1)


@asynccontextmanager
async def client_of(daemon: DaemonProcess) -> AsyncIterator[Client]:
    """A client of the cluster, in a thread's world."""
    cluster = await asyncio.to_thread(RemoteCluster.attach, NAME, address=daemon.address)
    client = await asyncio.to_thread(Client, cluster)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(cluster.close)


def node_of(system: Slurm, job: str) -> str:
    """The node that a job runs on."""
    return system.ask("squeue", "-h", "-r", "-j", job, "-o", "%B").strip()


def elements(system: Slurm) -> set[str]:
    """All that was ever submitted, as far as Slurm remembers."""
    return set(system.ask("squeue", "-h", "-r", "-t", "all", "-o", "%i").split())


def arrays(jobs: Iterable[str]) -> set[str]:
    """What these are elements of."""
    return {job.partition("_")[0] for job in jobs}


async def failures(daskd: AsyncDaskd) -> int:
    """How often in a row the group failed to launch."""
    return (await daskd.get(NAME)).groups[0].failures


@contextmanager
def node_in(system: Slurm, node: str, state: str) -> Iterator[None]:
    """An administrator sets a node's state; afterwards it takes jobs again."""
    system.ask("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")
    try:
        yield
    finally:
        # one that answers may have come back by itself
        system.ask("scontrol", "update", f"nodename={node}", "state=resume", check=False)


@pytest.mark.parametrize("partition", ["requeued", "cancelled"])
async def test_a_preempted_job_is_told_and_replaced(daemon: DaemonProcess, system: Slurm, partition: str) -> None:
    """Whether its partition requeues or cancels what must give way: it is told, and its successor waits for room."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(2, queue=partition, cores=CORES_OF_NODE))
        await comes_to(daskd, has(2), "it runs")
        first = set(system.jobs("RUNNING"))
        urgent = system.ask(
            "sbatch",
            "--parsable",
            "--partition=urgent",
            "-c",
            str(CORES_OF_NODE),
            "-D/",
            "-o/dev/null",
            "--wrap=sleep 600",
        ).strip()
        await is_told(daskd, "WORKER_LOST", "PREEMPTED")
        await eventually_true(lambda: urgent in system.jobs("RUNNING"), "what is urgent runs")
        await eventually_true(lambda: len(system.jobs("PENDING")) == 1, "its successor waits")
        assert await failures(daskd) == 0
        system.ask("scancel", urgent)
        await comes_to(daskd, has(2), "there are two again", SLOW)
        assert len(first & set(system.jobs("RUNNING"))) == 1


async def test_a_job_is_not_requeued_behind_the_daemons_back(daemon: DaemonProcess, system: Slurm) -> None:
    """Requeueing is off: not even an administrator does it, and the job runs on."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1))
        await comes_to(daskd, has(1), "it runs")
        jobs, workers = system.jobs("RUNNING"), await daskd.workers(NAME)
        with pytest.raises(AssertionError, match="disabled"):
            system.ask("scontrol", "requeue", jobs[0])
        async with client_of(daemon) as client:
            assert await asyncio.to_thread(client.submit(lambda x: x + 1, 1).result) == 2
        assert system.jobs("RUNNING") == jobs
        assert [worker.instance for worker in await daskd.workers(NAME)] == [worker.instance for worker in workers]


async def test_a_hold_by_an_administrator_is_told_and_no_failure(daemon: DaemonProcess, system: Slurm) -> None:
    """What an administrator holds waits, is told with Slurm's word for it, and runs when it is released."""
    system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=down")
    try:
        async with AsyncDaskd(daemon.address) as daskd:
            await daskd.create(NAME, spec(1))
            await eventually_true(lambda: len(system.jobs("PENDING")) == 1, "it waits")
            [job] = system.jobs("PENDING")
            system.ask("scontrol", "hold", job)
            system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=up")
            await is_told(daskd, "INSTANCE_WAITS", "JobHeldAdmin")
            [worker] = await daskd.workers(NAME)
            assert "is held" in worker.message
            assert (await failures(daskd), system.jobs("PENDING")) == (0, [job])
            system.ask("scontrol", "release", job)
            await comes_to(daskd, has(1), "it runs", SLOW)
            assert system.jobs("RUNNING") == [job]
    finally:
        system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=up")


async def test_a_job_that_meets_its_time_limit_is_replaced_and_no_failure(daemon: DaemonProcess, system: Slurm) -> None:
    """A worker with an actor can't be moved: Slurm ends it with its time, which is told, and another is there."""

    class Counter:
        """What is not to be moved."""

    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1, walltime="00:01:00"))
        await comes_to(daskd, has(1), "it runs")
        async with client_of(daemon) as client:
            actor = await asyncio.to_thread(client.submit(Counter, actor=True).result)
            await is_told(daskd, "WORKER_LOST", "TIMEOUT")
            del actor
        assert await failures(daskd) == 0
        await daskd.delete(NAME)


async def test_what_a_job_exits_with_at_its_start_is_told(daemon: DaemonProcess, system: Slurm) -> None:
    """A prologue that exits leaves no node to say why: Slurm's exit code and the job's own output do."""
    wanted = spec(1)
    group = replace(wanted.groups[0], prologue=("echo no scratch here >&2", "exit 7"))
    async with AsyncDaskd(daemon.address) as daskd:
        made = await daskd.create(NAME, replace(wanted, groups=(group,)))

        async def has_failed() -> bool:
            return (await daskd.get(made.uid)).phase is Phase.FAILED

        await eventually(has_failed, "it has failed", SLOW)
        cluster = await daskd.get(made.uid)
        assert "exited with code 7" in cluster.message
        events = [event.message for event in await daskd.events(made.uid) if event.type == "WORKER_START_FAILED"]
        assert all("no scratch here" in message for message in events)
        assert len(events) == 5
        assert not system.jobs(*LIVING)


async def test_a_drained_node_goes_on_and_takes_nothing_new(daemon: DaemonProcess, system: Slurm) -> None:
    """Its job is left in peace, and what is launched meanwhile runs elsewhere."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1))
        await comes_to(daskd, has(1), "it runs")
        [job] = system.jobs("RUNNING")
        node = node_of(system, job)
        with node_in(system, node, "drain"):
            await daskd.scale(NAME, 3)
            await comes_to(daskd, has(3), "three run")
            running = system.jobs("RUNNING")
            assert job in running
            assert node not in {node_of(system, other) for other in running if other != job}
            assert not await told(daskd, "WORKER_LOST")


async def test_a_node_that_slurm_lost_and_its_scheduler_hears_is_no_loss(daemon: DaemonProcess, system: Slurm) -> None:
    """With a node's daemon dead Slurm calls its job NODE_FAIL; while its worker computes nothing takes its place."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1))
        await comes_to(daskd, has(1), "it runs")
        [job] = system.jobs("RUNNING")
        [before] = await daskd.workers(NAME)
        number = int(node_of(system, job).removeprefix("node"))
        system.lose_node(number)
        try:
            await eventually_true(lambda: job in system.jobs("NODE_FAIL"), "Slurm calls it lost", SLOW)
            async with client_of(daemon) as client:
                # longer than what Slurm says so is waited for
                ran = client.map(lambda n: (time.sleep(0.5), os.getpid())[1], range(200), key="work")
                assert len(set(await asyncio.to_thread(client.gather, ran))) == 1
            [worker] = await daskd.workers(NAME)
            assert (worker.instance, worker.pid) == (before.instance, before.pid)
            assert "NODE_FAIL" in worker.message
        finally:
            system.start_node(number)
        # a node that is back ends what it is no longer to run
        await is_told(daskd, "WORKER_LOST", "NODE_FAIL")
        await comes_to(daskd, has(1), "another has joined", SLOW)


async def test_a_node_that_went_with_its_job_is_replaced(daemon: DaemonProcess, system: Slurm) -> None:
    """With no power on a node, its job is given up when Slurm has called it lost for a minute, and runs elsewhere."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1))
        await comes_to(daskd, has(1), "it runs")
        [job] = system.jobs("RUNNING")
        number = int(node_of(system, job).removeprefix("node"))
        system.cut_power(number)
        try:
            await is_told(daskd, "WORKER_LOST", "NODE_FAIL")
            await comes_to(daskd, has(1), "another has joined", SLOW)
            assert await failures(daskd) == 0
        finally:
            system.start_node(number)


async def test_adaptive_does_not_flap_while_jobs_wait(daemon: DaemonProcess, system: Slurm) -> None:
    """In a full partition each job is submitted once; when the work is done what still waits goes first."""
    before = elements(system)
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(0, cores=CORES_OF_NODE))
        await comes_to(daskd, lambda cluster: cluster.phase is Phase.RUNNING, "it runs")
        await daskd.adapt(NAME, AdaptivePolicy(minimum=0, maximum=6, cool_down=COOL_DOWN))
        async with client_of(daemon) as client:
            work = client.map(lambda n: time.sleep(0.5) or n, range(120), key="work")

            def is_full(cluster: Cluster) -> bool:
                return (cluster.groups[0].running, cluster.groups[0].pending) == (2, 4)

            await comes_to(daskd, is_full, "two run, and four wait", SLOW)
            running = set(system.jobs("RUNNING"))
            assert await asyncio.to_thread(client.gather, work) == list(range(120))
            submitted = elements(system) - before
            assert len(submitted) == 6
            await eventually_true(lambda: not system.jobs("PENDING"), "none waits any more")
            assert set(system.jobs("RUNNING")) == running
        await comes_to(daskd, has(0), "all have gone", SLOW)
        # what waited is told of by its array alone
        assert arrays(elements(system) - before) == arrays(submitted)
