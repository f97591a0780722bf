"""Clusters on a real Slurm whose commands are run on a login node: what may befall the connection with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, RemoteCluster
from tests.daemon_process import DaemonProcess, daemon_process, until
from tests.spine.killed_daemon import asked_through_death, eventually, start_armed

from .clusters import SLOW, add, comes_to, create, has
from .lab import LIVING, Slurm, Unavailable, keys, slurm
from .login_lab import Login, login
from .test_slurm_cluster import spec

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm for all tests of this module that a process runs."""
    try:
        with slurm(2) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture
def node() -> Iterator[Login]:
    """Its login node."""
    try:
        with login() as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no login node here: {refusal}")


@pytest.fixture
def daemon(system: Slurm, node: Login) -> Iterator[DaemonProcess]:
    """A daemon that finds Slurm's commands on the login node alone, not yet started; its jobs are gone afterwards."""
    with daemon_process('[clusters]\ncontact_host = "127.0.0.1"\n') as process:
        with process.config.open("a") as config:
            config.write(f'[drivers.slurm]\nconf = "{system.conf}"\nper_minute = 6000\npoll = 2\ntimeout = 10\n')
            config.write(f'log_directory = "{process.folder}/shared"\nlogin_host = {node.toml}\n')
        yield process
        if process.process is not None and process.process.poll() is None:
            process.kill()
        for job in system.jobs(*LIVING):
            system.ask("scancel", job, check=False)
        until(lambda: not system.jobs(*LIVING), "no job is left")


def test_a_cluster_lives_through_a_login_node(daemon: DaemonProcess, system: Slurm, node: Login) -> None:
    """Create, compute, a cut connection, kill -9 of the daemon, scale, delete: in the end nothing is left."""
    daemon.start()
    with create(daemon, 2) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=SLOW)
        before, jobs = set(client.scheduler_info()["workers"]), system.jobs("RUNNING")
        node.cut()
        assert client.gather(client.map(add, range(10))) == list(range(1, 11))
    daemon.restart()
    cluster = RemoteCluster.attach("sim", address=daemon.address)
    with Client(cluster) as client:
        assert set(client.scheduler_info()["workers"]) == before
        node.cut()
        cluster.scale(3)
        client.wait_for_workers(3, timeout=SLOW)
        assert set(jobs) < set(system.jobs("RUNNING"))
        assert "worker-started" in str(cluster.get_logs())
        cluster.scale(1)
        until(lambda: len(system.jobs(*LIVING)) == 1, "two have retired, and their jobs have ended", SLOW)
    cluster.shutdown()
    until(lambda: not system.jobs(*LIVING), "no job is left", SLOW)
    until(lambda: not keys(daemon.folder / "shared"), "no key is left", SLOW)


async def test_a_login_node_that_is_down_is_no_failure(daemon: DaemonProcess, system: Slurm, node: Login) -> None:
    """Jobs run on and none is counted as ended; what was asked meanwhile is submitted when it is back."""
    daemon.start()
    async with AsyncDaskd(daemon.address, timeout=120.0) as daskd:
        await daskd.create("sim", spec(1))
        await comes_to(daskd, has(1), "it runs", SLOW)
        jobs = system.jobs("RUNNING")
        node.stop()
        await daskd.scale("sim", 2)

        async def is_told() -> bool:
            group = (await daskd.get("sim")).groups[0]
            return "login node" in group.message and group.failures > 0

        await eventually(is_told, "why no job comes is told", SLOW)
        cluster = await daskd.get("sim")
        assert (cluster.phase.value, cluster.groups[0].running) == ("RUNNING", 1)
        node.start()
        await comes_to(daskd, has(2), "the second one came", SLOW)
        assert set(jobs) < set(system.jobs("RUNNING"))


async def test_a_silent_connection_ends_nothing(daemon: DaemonProcess, system: Slurm, node: Login) -> None:
    """A login node that says nothing more, as when a cable is pulled, holds up nothing else and loses nothing."""
    daemon.start()
    async with AsyncDaskd(daemon.address, timeout=120.0) as daskd:
        await daskd.create("sim", spec(1))
        await comes_to(daskd, has(1), "it runs", SLOW)
        jobs = system.jobs("RUNNING")
        with node.silent():
            await daskd.scale("sim", 2)
            # for as long as it takes to give up a connection
            for _ in range(10):
                await asyncio.sleep(2)
                assert (await daskd.get("sim")).groups[0].running == 1
        await comes_to(daskd, has(2), "the second one came", SLOW)
        assert set(jobs) < set(system.jobs("RUNNING"))


@pytest.mark.parametrize("point", ["launch.intended:2", "launch.launched:2"])
async def test_a_daemon_that_dies_while_it_submits_doubles_nothing(
    daemon: DaemonProcess, system: Slurm, point: str
) -> None:
    """Killed before or after a submission: the next daemon has as many jobs as were asked for, and no other."""
    start_armed(daemon, point)  # the first launch is the scheduler's
    async with AsyncDaskd(daemon.address, timeout=120.0) as daskd:
        await asked_through_death(daemon, lambda: daskd.create("sim", spec(2), request_id="once"))
        await comes_to(daskd, has(2), "it runs", SLOW)
        assert len(system.jobs(*LIVING)) == 2
        workers = await daskd.workers("sim", include_ended=True)
        ran = [folder.name for folder in (daemon.folder / "shared").rglob("instances/*")]
        assert sorted(ran) == sorted(worker.instance for worker in workers if worker.address)
