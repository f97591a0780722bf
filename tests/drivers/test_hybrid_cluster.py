"""One cluster on two systems: jobs of a real Slurm as its base, processes of real hosts for bursts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from distributed import Client

from daskd_client import RemoteCluster
from tests.daemon_process import DaemonProcess, daemon_process, until

from .batch import lab as batch
from .ssh import lab as hosts
from .ssh.rig import options_of

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

WORKER = {"nthreads": 1, "memory_limit": "300MB"}
ADAPTIVE = {"minimum": 0, "maximum": 2, "interval": "500ms", "wait_count": 2}


@pytest.fixture(scope="module")
def slurm() -> Iterator[batch.Slurm]:
    """A Slurm."""
    try:
        with batch.slurm(2) as made:
            yield made
    except batch.Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture(scope="module")
def machines() -> Iterator[hosts.Lab]:
    """Two hosts on a network of their own."""
    try:
        with hosts.lab(2) as made:
            yield made
    except hosts.Unavailable as refusal:
        pytest.skip(f"no hosts can be made here: {refusal}")


@pytest.fixture
def daemon(slurm: batch.Slurm, machines: hosts.Lab) -> Iterator[DaemonProcess]:
    """A daemon that jobs and hosts reach alike; no job is left after the test."""
    with daemon_process(f'[clusters]\ncontact_host = "{machines.gateway}"\n') as process:
        with process.config.open("a") as config:
            config.write(f'[drivers.slurm]\nconf = "{slurm.conf}"\nper_minute = 6000\npoll = 2\n')
            config.write(f'log_directory = "{process.folder}/shared"\n')
        process.start()
        yield process
        process.kill()
        for job in slurm.jobs("PENDING", "RUNNING"):
            slurm.ask("scancel", job, check=False)
        until(lambda: not slurm.jobs("PENDING", "RUNNING", "COMPLETING"), "no job is left")


def create(daemon: DaemonProcess, machines: hosts.Lab, **each: object) -> RemoteCluster:
    """A cluster whose first group are jobs, the second processes on hosts."""
    jobs = {"driver": "slurm", "options": {"queue": batch.PARTITION, "walltime": "00:30:00"}}
    burst = {"driver": "ssh", "options": options_of(machines)}
    groups = {"base": {**jobs, "worker": WORKER, **each}, "burst": {**burst, "worker": WORKER, **each}}
    return RemoteCluster("both", address=daemon.address, groups=groups, quiet=True)


def double(x: int) -> int:
    return 2 * x


def total(numbers: list[int]) -> int:
    return sum(numbers)


def napping(x: int) -> int:
    time.sleep(1)
    return 2 * x


def of_group(client: Client, name: str) -> list[str]:
    """Addresses of a group's workers at the scheduler."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return [address for address, worker in workers.items() if str(worker["id"]).startswith(f"{name}-")]


def test_jobs_and_hosts_compute_together(daemon: DaemonProcess, slurm: batch.Slurm, machines: hosts.Lab) -> None:
    """Data of a job is read on a host and the other way; the daemon's death touches neither, nor is a job left."""
    with create(daemon, machines, n_workers=2) as cluster, Client(cluster) as client:
        client.wait_for_workers(4, timeout=90)
        base, burst = of_group(client, "base"), of_group(client, "burst")
        assert (len(base), len(burst)) == (2, 2)
        on_jobs = [client.submit(double, x, workers=base) for x in range(10)]
        on_hosts = [client.submit(double, x, workers=burst) for x in range(10, 20)]
        expected = sum(2 * x for x in range(20))
        both = on_jobs + on_hosts
        assert client.submit(total, both, workers=burst).result(60) == expected
        assert client.submit(total, both, workers=base, key="again").result(60) == expected
    daemon.restart()
    cluster = RemoteCluster.attach("both", address=daemon.address)
    with Client(cluster) as client:
        assert {*of_group(client, "base"), *of_group(client, "burst")} == {*base, *burst}
        cluster.scale(0, group="base")
        until(lambda: not of_group(client, "base"), "the jobs' workers have retired")
        until(lambda: not slurm.jobs("RUNNING", "PENDING"), "their jobs have ended")
        assert sorted(of_group(client, "burst")) == sorted(burst)
    cluster.shutdown()
    until(lambda: not [host for host in machines.hosts if host.processes(of="daskd_runtime")], "all have ended")


def test_a_burst_goes_to_the_hosts_when_the_jobs_are_all_taken(
    daemon: DaemonProcess, slurm: batch.Slurm, machines: hosts.Lab
) -> None:
    """The policy fills the first group, then the second; with the work both go."""
    with create(daemon, machines, adaptive=ADAPTIVE) as cluster, Client(cluster) as client:
        one = client.submit(napping, -1)
        until(lambda: of_group(client, "base"), "a little work brings a job", 90)
        assert not of_group(client, "burst")
        assert one.result(60) == -2
        futures = client.map(napping, range(60))
        until(lambda: len(of_group(client, "base")) == 2, "the jobs come", 90)
        until(lambda: len(of_group(client, "burst")) == 2, "and the hosts are taken in addition", 90)
        assert client.gather(futures) == [2 * x for x in range(60)]
        del one, futures  # what is held keeps who holds it
        until(lambda: not client.scheduler_info(n_workers=-1)["workers"], "all go when there is nothing to do", 120)
        until(lambda: not slurm.jobs("RUNNING", "PENDING"), "no job is left")
        cluster.shutdown()
