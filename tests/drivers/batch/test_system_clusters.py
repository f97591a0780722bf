"""The test that matters, on each batch system: clusters of jobs outlive the daemon, follow the work, leave nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from distributed import Client

from daskd_client import RemoteCluster
from tests.daemon_process import DaemonProcess, until

from .clusters import NAME, SLOW
from .lab import keys
from .labs import LABS, Lab, lab_daemon

pytestmark = [pytest.mark.systems, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Each batch system in turn, for all tests of this module that a process runs."""
    with LABS[request.param]() as made:
        yield made


@pytest.fixture
def daemon(lab: Lab) -> Iterator[DaemonProcess]:
    """A daemon that uses it."""
    with lab_daemon(lab) as process:
        process.start()
        yield process


def slowly(x: int) -> int:
    time.sleep(0.5)
    return x + 1


def workers(client: Client) -> set[str]:
    """Addresses of the workers that the scheduler knows."""
    return set(client.scheduler_info(n_workers=-1)["workers"])


def check_a_killed_daemon_is_missed_by_nobody(cluster: RemoteCluster, daemon: DaemonProcess, lab: Lab) -> None:
    """kill -9 in the middle of a computation: the same jobs, the same workers, every result."""
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=90)
        before, jobs = workers(client), lab.jobs()
        assert len(jobs) == 2
        futures = client.map(slowly, range(20))
        client.submit(slowly, 0, pure=False).result(timeout=90)
        daemon.restart()
        assert client.gather(futures) == list(range(1, 21))
        assert (workers(client), lab.jobs()) == (before, jobs)


def check_the_number_follows_the_work(cluster: RemoteCluster, lab: Lab) -> None:
    """More jobs while there are tasks for them; one stays when there are none."""
    cluster.adapt(minimum=1, maximum=3, cool_down="5s")
    with Client(cluster) as client:
        futures = client.map(slowly, range(100, 300))
        until(lambda: len(workers(client)) == 3, "three work", SLOW)
        assert client.gather(futures) == list(range(101, 301))
        del futures
        until(lambda: len(workers(client)) == 1, "two have retired", SLOW)
        until(lambda: len(lab.jobs()) == 1, "their jobs have ended", SLOW)


def test_a_cluster_lives_through_everything(daemon: DaemonProcess, lab: Lab) -> None:
    """Create by a profile, compute, kill -9 of the daemon, attach, adapt, delete: nothing is lost, and nothing left."""
    made = RemoteCluster(NAME, profile="jobs", n_workers=2, address=daemon.address)
    check_a_killed_daemon_is_missed_by_nobody(made, daemon, lab)
    made.close()
    cluster = RemoteCluster.attach(NAME, address=daemon.address)
    assert "worker-started" in str(cluster.get_logs())
    check_the_number_follows_the_work(cluster, lab)
    cluster.shutdown()
    until(lambda: not lab.jobs(), "no job is left", SLOW)
    until(lambda: not lab.processes(), "nothing runs any more", SLOW)
    until(lambda: not keys(daemon.folder / "shared"), "no key is left")


def test_a_job_that_somebody_ends_is_replaced(daemon: DaemonProcess, lab: Lab) -> None:
    """What is ended behind the daemon's back costs no result: another job takes its place, and its tasks run there."""
    with RemoteCluster(NAME, profile="jobs", n_workers=2, address=daemon.address) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=90)
        first, jobs = workers(client), lab.jobs()
        futures = client.map(slowly, range(40))
        lab.cancel(jobs[0])
        assert client.gather(futures) == list(range(1, 41))
        until(lambda: len(workers(client)) == 2 and workers(client) != first, "another has joined", SLOW)
        until(lambda: len(lab.jobs()) == 2, "there are two jobs again", SLOW)
        assert jobs[1] in lab.jobs()
