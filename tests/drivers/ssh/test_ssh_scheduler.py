"""A cluster whose scheduler runs on a host of choice, end to end, and what may befall the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskd_client import RemoteCluster
from daskd_client.types import Phase
from tests.daemon_process import DaemonProcess, daemon_process, until

from ..placed.leaving import KEYS, recovered, work_and_die
from .lab import Lab, kill
from .rig import options_of

pytestmark = pytest.mark.systems


@pytest.fixture
def daemon(machines: Lab) -> Iterator[DaemonProcess]:
    """A daemon that reaches the hosts; no host needs to reach it."""
    with daemon_process() as process:
        process.start()
        yield process


def create(daemon: DaemonProcess, machines: Lab, **more: Any) -> RemoteCluster:
    """A cluster on the second host, whose scheduler is on the first."""
    first, second = machines.hosts
    options = options_of(machines, first)
    return RemoteCluster(
        "lab",
        driver="ssh",
        address=daemon.address,
        n_workers=2,
        options=options_of(machines, second),
        worker={"nthreads": 1, "memory_limit": 0, "death_timeout": "5s"},
        scheduler={"placement": "driver", "driver_options": {**options, **more}},
    )


def schedulers(machines: Lab) -> list[int]:
    """The schedulers' processes on the first host."""
    return [pid for pid, line in machines.hosts[0].processes(of="daskd_runtime scheduler").items() if "-m" in line]


def left(machines: Lab) -> list[str]:
    """What runs on the hosts of a cluster."""
    return [line for host in machines.hosts for line in host.processes(of="daskd_runtime").values()]


def told(cluster: RemoteCluster, type_: str) -> str:
    """The messages of the cluster's events of a type."""
    lines = str(cluster.get_logs(scheduler=False, workers=False)["Cluster"]).splitlines()
    return "\n".join(line for line in lines if f" {type_} " in line)


def test_a_scheduler_that_dies_is_started_anew(daemon: DaemonProcess, machines: Lab) -> None:
    """kill -9 of it is told with what is lost; another one comes, and workers that find it, and all computes again."""
    with create(daemon, machines) as cluster:
        cluster.wait_for_workers(2, timeout=60)
        first, [process] = cluster.record.scheduler, schedulers(machines)
        assert first is not None
        kill(process)
        until(lambda: "at another address, empty" in told(cluster, "SCHEDULER_LOST"), "its end is told")

        def is_another() -> bool:
            now = cluster.record.scheduler
            return cluster.record.phase is Phase.RUNNING and now is not None and now.address != first.address

        until(is_another, "another one runs")
        until(lambda: cluster.record.groups[0].running == 2, "its workers are there", timeout=120)
        [again] = schedulers(machines)
        assert again != process
        other = RemoteCluster.attach("lab", address=daemon.address)
        with Client(other) as client:
            assert client.submit(lambda: 5).result(timeout=60) == 5
        other.shutdown()
    until(lambda: not left(machines), "all have ended")


def test_a_host_that_forwards_nothing_is_reached_directly(daemon: DaemonProcess, machines: Lab) -> None:
    """Where its SSH server forbids forwarding, the link goes by TCP to a port of the range that was asked for."""
    first = machines.hosts[0]
    first.switch_off()
    first.start("AllowTcpForwarding no")
    with create(daemon, machines, port_range="41000-41009") as cluster, Client(cluster) as client:
        assert client.submit(lambda: 5).result(timeout=60) == 5
        assert 41000 <= int(client.scheduler.address.rpartition(":")[2]) <= 41009
        cluster.shutdown()
    until(lambda: not left(machines), "all have ended")


def test_a_scheduler_without_a_usable_host_fails_in_words(daemon: DaemonProcess, machines: Lab) -> None:
    """A host with no Python for it is told as such, and the cluster does not wait for ever."""
    with pytest.raises(Exception, match="has no Python"):
        create(daemon, machines, python="/nonexistent/python")


def test_a_scheduler_on_a_host_lives_through_everything(daemon: DaemonProcess, machines: Lab, tmp_path: Path) -> None:
    """Create, compute, kill -9 of the daemon and of a client, recover, delete: nothing is lost, and nothing left."""
    with create(daemon, machines) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.scheduler.address.startswith(f"tls://{machines.hosts[0].address}:")
        assert client.gather(client.map(lambda x: 2 * x, range(10))) == [2 * i for i in range(10)]
    [scheduler] = schedulers(machines)
    daemon.restart()
    cluster = RemoteCluster.attach("lab", address=daemon.address)
    assert schedulers(machines) == [scheduler]
    work_and_die("lab", daemon.address, tmp_path)
    with Client(cluster) as client:
        until(lambda: sum(work.keys for work in cluster.lost_work()) == KEYS, "what it left is held")
        assert recovered(cluster, client) == [2 * n for n in range(KEYS)]
    assert "Scheduler at:" in cluster.get_logs(cluster=False, workers=False)["Scheduler"]
    cluster.shutdown()
    until(lambda: not left(machines), "all have ended")
    until(lambda: not list((machines.folder / "daskd").rglob("*.key")), "no key is left")
