"""A cluster on real hosts, end to end: a real daemon, its client, and all that may happen to both and to a host."""

from __future__ import annotations

import subprocess
import sys
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
    with daemon_process(f'[clusters]\ncontact_host = "{machines.gateway}"\nlost_after = "5s"\n') as process:
        process.start()
        yield process


def create(daemon: DaemonProcess, machines: Lab, **more: Any) -> RemoteCluster:
    """A cluster on the machines."""
    arguments = {"n_workers": 2, "options": options_of(machines), "worker": {"nthreads": 1, "memory_limit": 0}, **more}
    return RemoteCluster("lab", driver="ssh", address=daemon.address, **arguments)


def workers(client: Client) -> set[str]:
    """Addresses of the workers that are at the scheduler."""
    return set(client.scheduler_info(n_workers=-1)["workers"])


def double(x: int) -> int:
    return 2 * x


def test_a_cluster_lives_through_everything(daemon: DaemonProcess, machines: Lab) -> None:
    """Create, compute, kill -9 of the daemon, attach, scale, delete: nothing is lost, and in the end nothing left."""
    with create(daemon, machines) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.gather(client.map(double, range(10))) == [2 * i for i in range(10)]
        before = workers(client)
    daemon.restart()
    cluster = RemoteCluster.attach("lab", address=daemon.address)
    with Client(cluster) as client:
        assert workers(client) == before
        assert "joined the scheduler" in str(cluster.get_logs())
        cluster.scale(4)
        client.wait_for_workers(4, timeout=60)
        cluster.scale(1)
        until(lambda: len(workers(client)) == 1, "three have retired")
    cluster.shutdown()
    until(lambda: not [host for host in machines.hosts if host.processes(of="daskd_runtime")], "all have ended")
    until(lambda: not list((machines.folder / "daskd").rglob("*.key")), "no key is left")


def test_what_comes_back_with_a_lost_host_is_reconciled(daemon: DaemonProcess, machines: Lab) -> None:
    """A host is switched off: the work goes on elsewhere; back again it has its share, and a delete leaves nothing."""
    lost, stays = machines.hosts
    with create(daemon, machines, options=options_of(machines, slots=1)) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        lost.switch_off()
        until(lambda: len(workers(client)) == 1, "one has left")
        assert client.gather(client.map(double, range(10))) == [2 * i for i in range(10)]
        lost.start()
        until(lambda: len(workers(client)) == 2, "it is replaced")
        assert len(lost.processes(of="supervisor.py")) == len(stays.processes(of="supervisor.py")) == 1
        cluster.shutdown()
    until(lambda: not (lost.processes(of="daskd_runtime") or stays.processes(of="daskd_runtime")), "all have ended")


def test_workers_of_a_host_that_does_not_answer_are_replaced(daemon: DaemonProcess, machines: Lab) -> None:
    """Its cable is pulled: another takes the lost one's place elsewhere, which ends when the cable is mended."""
    lost, stays = machines.hosts
    with create(daemon, machines) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        until(lambda: lost.processes(of="supervisor.py") and stays.processes(of="supervisor.py"), "one on each host")
        lost.pull_cable()
        until(lambda: len(stays.processes(of="supervisor.py")) == 2, "the other host has both", timeout=150)
        until(lambda: len(workers(client)) == 2, "both are at the scheduler")
        assert client.gather(client.map(double, range(10))) == [2 * i for i in range(10)]
        lost.mend_cable()
        until(lambda: not lost.processes(of="supervisor.py"), "what was given up has ended", timeout=150)
        assert len(workers(client)) == 2
        cluster.shutdown()
    until(lambda: not stays.processes(of="supervisor.py"), "all have ended")


def test_a_daemon_that_dies_while_it_launches_starts_none_twice(daemon: DaemonProcess, machines: Lab) -> None:
    """kill -9 as soon as something runs on a host: the next daemon adopts it, and there are as many as were wanted."""
    options = [f"{name}={value}" for name, value in options_of(machines).items() if name != "hosts"]
    options.append("hosts=" + ",".join(host.address for host in machines.hosts))
    argv = [
        sys.executable,
        "-m",
        "daskctl",
        "create",
        "lab",
        "--driver",
        "ssh",
        "-n",
        "2",
        "--no-wait",
        "--memory",
        "0",
    ]
    argv += [part for option in options for part in ("--option", option)]
    subprocess.run(argv, env=daemon.env, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def supervisors() -> int:
        return sum(len(host.processes(of="supervisor.py")) for host in machines.hosts)

    until(supervisors, "something runs on a host")
    daemon.restart()
    cluster = RemoteCluster.attach("lab", address=daemon.address)
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        until(lambda: supervisors() == 2, "there are two")
        assert len(workers(client)) == 2
    cluster.shutdown()
    until(lambda: not supervisors(), "all have ended")
