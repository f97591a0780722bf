"""A cluster on real hosts, end to end: a real daemon, its client, and all that may happen to both and to a host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client

from daskd_client import RemoteCluster
from tests.daemon_process import DaemonProcess, daemon_process, until

from .lab import Lab
from .rig import options_of

pytestmark = pytest.mark.systems


@pytest.fixture
def daemon(machines: Lab) -> Iterator[DaemonProcess]:
    """A daemon that the hosts reach, and that reaches them."""
    with daemon_process(f'[clusters]\ncontact_host = "{machines.gateway}"\n') as process:
        process.start()
        yield process


def create(daemon: DaemonProcess, machines: Lab, **more: Any) -> RemoteCluster:
    """A cluster on the machines."""
    arguments = {"n_workers": 2, "options": options_of(machines), "worker": {"nthreads": 1, "memory_limit": 0}, **more}
    return RemoteCluster("lab", driver="ssh", address=daemon.address, **arguments)


def double(x: int) -> int:
    return 2 * x


def test_a_cluster_lives_through_everything(daemon: DaemonProcess, machines: Lab) -> None:
    """Create, compute, kill -9 of the daemon, attach, scale, delete: nothing is lost, and in the end nothing left."""
    with create(daemon, machines) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.gather(client.map(double, range(10))) == [2 * i for i in range(10)]
        before = set(client.scheduler_info()["workers"])
    daemon.restart()
    cluster = RemoteCluster.attach("lab", address=daemon.address)
    with Client(cluster) as client:
        assert set(client.scheduler_info()["workers"]) == before
        assert "joined the scheduler" in str(cluster.get_logs())
        cluster.scale(4)
        client.wait_for_workers(4, timeout=60)
        cluster.scale(1)
        until(lambda: len(client.scheduler_info()["workers"]) == 1, "three have retired")
    cluster.shutdown()
    until(lambda: not [host for host in machines.hosts if host.processes(of="daskd_runtime")], "all have ended")
    until(lambda: not list((machines.folder / "daskd").rglob("*.key")), "no key is left")
