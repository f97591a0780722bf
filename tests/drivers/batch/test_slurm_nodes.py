"""Jobs of two nodes on a real Slurm: launched, retired, lost and ended as one."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client, wait

from daskd_client import RemoteCluster
from tests.daemon_process import DaemonProcess, until

from .clusters import NAME, SLOW
from .lab import LIVING, Slurm, Unavailable, keys, slurm
from .labs import lab_daemon, slurm_as_lab

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

NODES = {"nodes_per_job": 2}


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm of two nodes for all tests of this module that a process runs."""
    try:
        with slurm(2) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture
def daemon(system: Slurm) -> Iterator[DaemonProcess]:
    """A daemon that uses it."""
    with lab_daemon(slurm_as_lab(system)) as process:
        process.start()
        yield process


def created(daemon: DaemonProcess, n: int) -> RemoteCluster:
    """A cluster of such jobs, each with two workers."""
    return RemoteCluster(NAME, profile="jobs", n_workers=n, options=NODES, address=daemon.address, quiet=True)


def noting(runs: Path) -> Callable[[int], bytes]:
    """A task that writes down that it ran; it travels by value, for jobs don't find this module."""
    name = str(runs)

    def work(n: int) -> bytes:
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{n}\n".encode())
        finally:
            os.close(descriptor)
        return n.to_bytes(4, "big") * 5000

    return work


def ran(runs: Path) -> Counter[str]:
    """How often each of those tasks did."""
    return Counter(runs.read_text().split())


def once(n: int) -> Counter[str]:
    return Counter(map(str, range(n)))


def hosts(client: Client) -> dict[str, str]:
    """The node of each worker, by the worker's name."""
    by_address = client.run(lambda dask_worker: (str(dask_worker.name), os.environ["SLURMD_NODENAME"]))
    return dict(by_address.values())


def ranks(daemon: DaemonProcess) -> list[str]:
    """Names of the folders that the nodes of jobs have had."""
    return sorted(folder.name for folder in (daemon.folder / "shared").rglob("instances/*"))


def check_a_job_is_two_nodes(client: Client, daemon: DaemonProcess, system: Slurm) -> None:
    """One job runs; each of its nodes has a worker, a folder and a log of its own."""
    client.wait_for_workers(2, timeout=90)
    assert len(system.jobs(*LIVING)) == 1
    assert sorted(hosts(client).values()) == ["node1", "node2"]
    first, second = ranks(daemon)
    assert second == f"{first}.1"


def check_jobs_come_and_go_whole(cluster: RemoteCluster, client: Client, system: Slurm, runs: Path) -> None:
    """Two workers more are one job more; as they go again both leave, and what they held was moved."""
    before = set(hosts(client))
    cluster.scale(4)
    client.wait_for_workers(4, timeout=90)
    assert len(system.jobs("RUNNING")) == 2
    later = set(hosts(client)) - before
    futures = [client.submit(noting(runs), n, workers=sorted(before | later)[n % 4], key=f"w-{n}") for n in range(20)]
    wait(futures, timeout=90)
    cluster.scale(2)
    until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2, "two have retired", SLOW)
    assert set(hosts(client)) in (before, later), "both of one job"
    until(lambda: len(system.jobs(*LIVING)) == 1, "their job has ended", SLOW)
    assert [int.from_bytes(part[:4], "big") for part in client.gather(futures)] == list(range(20))
    assert ran(runs) == once(20)


def test_a_cluster_of_such_jobs_lives_through_everything(daemon: DaemonProcess, system: Slurm, tmp_path: Path) -> None:
    """Create, kill -9 of the daemon, attach, scale by whole jobs, read the logs, delete: nothing lost, nothing left."""
    made = created(daemon, 2)
    with Client(made) as client:
        check_a_job_is_two_nodes(client, daemon, system)
        there, jobs = hosts(client), system.jobs("RUNNING")
        daemon.restart()
        assert client.submit(sum, [1, 2]).result(timeout=90) == 3
        assert (hosts(client), system.jobs("RUNNING")) == (there, jobs)
    made.close()
    cluster = RemoteCluster.attach(NAME, address=daemon.address)
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=90)
        check_jobs_come_and_go_whole(cluster, client, system, tmp_path / "runs")
    lines = [line for text in cluster.get_logs().values() for line in text.splitlines()]
    # the log of each node, that of the first without a mark
    assert {"[node 1] " in line for line in lines if "joined the scheduler" in line} == {True, False}
    cluster.shutdown()
    until(lambda: not system.jobs(*LIVING), "no job is left", SLOW)
    until(lambda: not system.processes(), "nothing runs any more", SLOW)
    until(lambda: not keys(daemon.folder / "shared"), "no key is left")


def check_a_job_that_lost_a_node_is_succeeded(
    cluster: RemoteCluster, client: Client, daemon: DaemonProcess, system: Slurm, runs: Path
) -> None:
    """What the other node held is not computed again, and its job ends when another has joined."""
    client.wait_for_workers(2, timeout=90)
    [job], on = system.jobs("RUNNING"), hosts(client)
    [kept], [lost] = ([name for name, host in on.items() if host == node] for node in ("node1", "node2"))
    futures = [client.submit(noting(runs), n, workers=kept, key=f"w-{n}") for n in range(10)]
    wait(futures, timeout=90)
    [record] = (daemon.folder / "shared").rglob("instances/*.1/supervisor.json")
    os.kill(json.loads(record.read_text())["child"]["pid"], signal.SIGKILL)
    until(lambda: f"{lost} is gone with its node" in str(cluster.get_logs()), "it is told", SLOW)
    until(lambda: job not in system.jobs(*LIVING), "the job that was in part is gone", SLOW)
    client.wait_for_workers(2, timeout=90)
    assert set(hosts(client)).isdisjoint({kept, lost})
    assert len(system.jobs(*LIVING)) == 1
    assert [int.from_bytes(part[:4], "big") for part in client.gather(futures)] == list(range(10))
    assert ran(runs) == once(10)


def test_a_job_that_lost_a_node_is_replaced_as_a_whole(daemon: DaemonProcess, system: Slurm, tmp_path: Path) -> None:
    """One node's process dies: that is told, another job comes, and the rest of the first hands over what it holds."""
    with created(daemon, 2) as cluster, Client(cluster) as client:
        check_a_job_that_lost_a_node_is_succeeded(cluster, client, daemon, system, tmp_path / "runs")
