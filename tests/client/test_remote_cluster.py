"""`RemoteCluster` as Dask's users know clusters, against a real daemon."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster, Status
from distributed import TimeoutError as DaskTimeoutError
from distributed.utils import Log, Logs

from daskd_client import (
    AsyncDaskd,
    ClusterExists,
    ClusterFailed,
    ClusterNotFound,
    ClusterNotRunning,
    HeldWorkUnsupported,
    InvalidSpec,
    RemoteCluster,
    list_clusters,
)
from daskd_client.discovery import discover
from daskd_client.types import Cluster, Phase

from ..daemon_process import DaemonProcess, daemon_process, until
from .tasks import increment

Make = Callable[..., Any]


def record_of(daemon: DaemonProcess, uid: str) -> Cluster:
    """The daemon's record of a cluster."""

    async def get() -> Cluster:
        async with AsyncDaskd(daemon.address) as daskd:
            return await daskd.get(uid)

    return asyncio.run(get())


def _having(key: str, logs: Logs) -> Logs | None:
    return logs if key in logs else None


def test_a_cluster_computes(make: Make, name: str) -> None:
    """A new cluster takes a client and computes with the workers asked for, over TLS, with a dashboard."""
    cluster = make(name, n_workers=2, worker={"nthreads": 1, "memory_limit": "256MiB"})
    with Client(cluster) as client:
        assert client.submit(increment, 1).result(60) == 2
        cluster.wait_for_workers(2, timeout=60)
        workers = list(cluster.scheduler_info["workers"].values())
    assert cluster.scheduler_address.startswith("tls://")
    assert [(w["nthreads"], w["memory_limit"]) for w in workers] == [(1, 256 * 2**20)] * 2
    assert cluster.dashboard_link.startswith("http://127.0.0.1:")
    assert repr(cluster).startswith(f"RemoteCluster({name}, 'tls://127.0.0.1:")


def test_workers_are_like_this_process(make: Make, name: str) -> None:
    """Workers have this process's interpreter and working directory where nothing else was said."""
    cluster = make(name, n_workers=1)
    with Client(cluster) as client:
        client.wait_for_workers(1, timeout=60)
        assert set(client.run(os.getcwd).values()) == {os.getcwd()}
        assert set(client.run(lambda: sys.executable).values()) == {sys.executable}


def test_what_a_profile_fixes_goes_before_what_this_process_is_like(name: str, tmp_path: Path) -> None:
    """A profile that fixes the working directory is no error where the user said none, and is one where they did."""
    with daemon_process(
        f'[profiles.default]\nfixed = ["cwd"]\n[profiles.default.spec]\ncwd = "{tmp_path}"\n'
    ) as daemon:
        daemon.start()
        with RemoteCluster(name, n_workers=1, address=daemon.address) as cluster, Client(cluster) as client:
            client.wait_for_workers(1, timeout=60)
            assert set(client.run(os.getcwd).values()) == {str(tmp_path)}
        with pytest.raises(InvalidSpec, match="fixes it"):
            RemoteCluster(f"{name}-2", cwd="/", address=daemon.address)


def test_a_cluster_without_a_name_is_given_one(make: Make) -> None:
    """The name is optional: the daemon makes one up, and the object knows it."""
    cluster = make()
    assert cluster.name == cluster.record.name != ""


def test_closing_detaches(make: Make, attach: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """`close`, leaving the context and garbage collection leave the cluster running."""
    cluster = make(name)
    cluster.close()
    assert cluster.status is Status.closed
    with attach(name):
        pass
    forgotten = RemoteCluster.attach(name, address=shared_daemon.address)
    loop = forgotten.loop.asyncio_loop
    del forgotten
    gc.collect()
    until(loop.is_closed, "nothing of the forgotten object runs")
    assert record_of(shared_daemon, cluster.uid).phase is Phase.RUNNING
    assert not record_of(shared_daemon, cluster.uid).delete_requested


def test_shutdown_ends_the_cluster(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """`shutdown` returns once the cluster has ended, and its object is closed."""
    cluster = make(name, n_workers=1)
    cluster.shutdown()
    assert record_of(shared_daemon, cluster.uid).phase is Phase.STOPPED
    assert cluster.status is Status.closed


def test_shutdown_ends_what_was_left_before(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """`shutdown` means the cluster's end even of an object that was closed already."""
    cluster = make(name)
    cluster.close()
    cluster.shutdown()
    assert record_of(shared_daemon, cluster.uid).phase is Phase.STOPPED


def test_client_shutdown_ends_the_cluster(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """`Client(cluster).shutdown()` means the cluster's end, though it calls the `close` that detaches."""
    cluster = make(name)
    Client(cluster).shutdown()
    assert record_of(shared_daemon, cluster.uid).phase is Phase.STOPPED


def test_client_close_leaves_cluster_and_object_alone(make: Make, name: str) -> None:
    """Closing a client says nothing about its cluster."""
    cluster = make(name)
    Client(cluster).close()
    assert cluster.status is Status.running
    with Client(cluster) as client:
        assert client.scheduler.address == cluster.scheduler_address


def test_shutdown_on_close(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """With `shutdown_on_close`, which tools set, `close` ends the cluster."""
    cluster = make(name)
    cluster.shutdown_on_close = True
    cluster.close()
    assert record_of(shared_daemon, cluster.uid).phase is Phase.STOPPED


def test_a_taken_name_is_an_error_unless_attaching_is_asked_for(make: Make, name: str) -> None:
    """A second cluster of a name is refused by default, and attached to on demand."""
    cluster = make(name)
    with pytest.raises(ClusterExists, match=name):
        make(name)
    assert make(name, if_exists="attach").uid == cluster.uid


def test_attaching_to_nothing_is_an_error(attach: Make) -> None:
    """Attaching to a name that no cluster has says so."""
    with pytest.raises(ClusterNotFound, match="no-such-cluster"):
        attach("no-such-cluster")


def test_scale_turns_adaptive_off_and_stop_does_not(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """`adapt` answers at once with its bounds; only `scale` turns it off, not the `stop` that Dask's classes call."""
    cluster = make(name)
    adaptive = cluster.adapt(minimum=0, maximum=3, interval="500ms")
    assert (adaptive.minimum, adaptive.maximum) == (0, 3)
    adaptive.stop()
    assert record_of(shared_daemon, cluster.uid).groups[0].adaptive is not None
    assert "Adaptive" in cluster._scaling_status()
    cluster.scale(1)
    assert record_of(shared_daemon, cluster.uid).groups[0].adaptive is None
    cluster.wait_for_workers(1, timeout=60)


def test_every_attached_object_stays_live(make: Make, attach: Make, name: str) -> None:
    """Two objects of one cluster both see its workers come and go."""
    first, second = make(name), attach(name)
    first.scale(2)
    for cluster in (first, second):
        until(lambda cluster=cluster: len(cluster.scheduler_info["workers"]) == 2, "workers are seen to come")
    second.scale(0)
    for cluster in (first, second):
        until(lambda cluster=cluster: not cluster.scheduler_info["workers"], "workers are seen to go")


def test_an_object_learns_of_its_clusters_end(make: Make, attach: Make, name: str) -> None:
    """An object whose cluster is ended by somebody else closes, and says so when it is used."""
    first, second = make(name), attach(name)
    first.shutdown()
    until(lambda: second.status is Status.closed, "the other object closes")
    with pytest.raises(ClusterNotRunning, match=name):
        second.wait_for_workers(1, timeout=60)


def test_logs_are_dasks_logs(make: Make, name: str) -> None:
    """`get_logs` has what the daemon did, the scheduler's log and each worker's, by address."""
    cluster = make(name, n_workers=1)
    cluster.wait_for_workers(1, timeout=60)
    address = next(iter(cluster.scheduler_info["workers"]))
    logs = until(lambda: _having(address, cluster.get_logs()), "the worker's log")
    assert isinstance(logs, Logs)
    assert isinstance(logs["Cluster"], Log)
    assert "CREATED" in logs["Cluster"]
    assert cluster.scheduler_address in logs["Scheduler"]
    assert set(cluster.get_logs(cluster=False, scheduler=False, workers=[address])) == {address}


def test_logs_are_there_after_the_end(make: Make, name: str) -> None:
    """A cluster's logs can be read after it ended."""
    cluster = make(name)
    cluster.shutdown()
    assert "STOPPED" in cluster.get_logs(workers=False)["Cluster"]


def test_a_cluster_that_cannot_start_says_why(make: Make, name: str, tmp_path: Path) -> None:
    """A Python that can't be run fails the cluster, and the error has the reason and the end of the log."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho this interpreter is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ClusterFailed) as caught:
        make(name, python=str(broken))
    assert any("this interpreter is broken" in line for line in caught.value.log_tail)
    assert "this interpreter is broken" in str(caught.value)


def test_a_wrong_spec_names_its_fields(make: Make, name: str) -> None:
    """Keywords that no group knows are refused with the near one, before anything is sent."""
    with pytest.raises(InvalidSpec) as caught:
        make(name, worker={"n_threads": 2, "memory_limit": -1})
    assert {problem.field for problem in caught.value.problems} == {
        "groups[0].worker.n_threads",
        "groups[0].worker.memory_limit",
    }
    assert "did you mean nthreads?" in str(caught.value)


def test_groups(make: Make, name: str) -> None:
    """A cluster has several kinds of workers, each scaled by itself."""
    cluster = make(name, groups={"small": {"n_workers": 1}, "big": {"worker": {"resources": {"MEM": 1}}}})
    cluster.scale(1, group="big")
    cluster.wait_for_workers(2, timeout=60)
    resources = sorted(str(worker["resources"]) for worker in cluster.scheduler_info["workers"].values())
    assert resources == ["{'MEM': 1.0}", "{}"] or resources == ["{'MEM': 1}", "{}"]


def test_objects_and_clients_survive_the_daemons_restart(daemon: DaemonProcess, name: str) -> None:
    """kill -9 of the daemon and a new one: computation never stops, and the same object scales the cluster again."""
    cluster = RemoteCluster(name, n_workers=1, address=daemon.address)
    with Client(cluster) as client:
        daemon.kill()
        assert client.submit(increment, 1).result(60) == 2
        daemon.start()
        cluster.scale(2)
        cluster.wait_for_workers(2, timeout=60)
        until(lambda: sum(group.desired for group in cluster.record.groups) == 2, "the watch goes on")
    cluster.shutdown()


async def test_asynchronous(shared_daemon: DaemonProcess, name: str) -> None:
    """With ``asynchronous=True`` the object, `scale`, `adapt` and `close` are awaited, in the caller's loop."""
    async with RemoteCluster(name, asynchronous=True, address=shared_daemon.address) as cluster:
        await cluster.scale(1)
        assert (await cluster.adapt(minimum=1, maximum=2)).maximum == 2
        async with Client(cluster, asynchronous=True) as client:
            assert await client.submit(increment, 1) == 2
        assert isinstance(await cluster.get_logs(), Logs)
    assert cluster.status is Status.closed
    again = await RemoteCluster.attach(name, asynchronous=True, address=shared_daemon.address)
    await again.shutdown()
    assert again.record.uid == cluster.uid


async def test_a_panels_object(shared_daemon: DaemonProcess, name: str) -> None:
    """JupyterLab's panel: `scale` may go unawaited, `adapt` answers at once, `close` ends the cluster."""
    cluster = await RemoteCluster(name, asynchronous=True, shutdown_on_close=True, address=shared_daemon.address)
    cluster.scale(1)
    await cluster._wait_for_workers(1, 60)
    adaptive = cluster.adapt(minimum=0, maximum=2)
    assert (adaptive.minimum, adaptive.maximum) == (0, 2)
    await adaptive
    await cluster.close()
    async with AsyncDaskd(shared_daemon.address) as daskd:
        assert (await daskd.get(cluster.uid)).phase is Phase.STOPPED


async def test_a_client_of_a_failed_cluster_is_told_why(shared_daemon: DaemonProcess, name: str) -> None:
    """A client made of an object that was not awaited, and fails, raises that failure instead of waiting."""
    cluster = RemoteCluster(name, python="/no/such/python", asynchronous=True, address=shared_daemon.address)
    client = Client(cluster, asynchronous=True)
    with pytest.raises((ClusterFailed, InvalidSpec)):
        await client
    await client.close()


async def test_an_object_that_was_not_awaited_takes_a_client(shared_daemon: DaemonProcess, name: str) -> None:
    """A client made of an object that has not started yet starts it, and reaches it over TLS."""
    cluster = RemoteCluster(name, n_workers=1, asynchronous=True, address=shared_daemon.address)
    async with Client(cluster, asynchronous=True) as client:
        assert await client.submit(increment, 1) == 2
    await cluster.shutdown()


async def test_discovery(shared_daemon: DaemonProcess, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools find running clusters by name, with a class whose `close` ends them; users list them."""
    monkeypatch.setenv("DASKD_ADDRESS", shared_daemon.address)
    made = await RemoteCluster(name, asynchronous=True)
    assert name in [cluster.name for cluster in list_clusters()]
    found = {found_name: cls async for found_name, cls in discover()}
    cluster = await asyncio.to_thread(found[name].from_name, name)
    await cluster.close()
    assert (await made._view.daskd.get(made.uid)).phase is Phase.STOPPED
    assert name not in [cluster.name for cluster in list_clusters()]
    await made.close()


async def test_discovery_without_a_daemon_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that look for clusters are not disturbed where no daemon runs."""
    monkeypatch.setenv("DASKD_ADDRESS", f"unix:{tmp_path}/none.sock")
    assert [found async for found in discover()] == []


def test_the_widget_scales_and_adapts(make: Make, name: str, shared_daemon: DaemonProcess) -> None:
    """The notebook's widget scales by its button, adapts by its button, and shows which of them is on."""
    cluster = make(name)
    tab = cluster._widget()
    scaling = tab.children[1]
    status, accordion = scaling.children
    request, scale = accordion.children[0].children
    minimum, maximum, adapt = accordion.children[1].children
    minimum.value, maximum.value = 0, 2
    adapt.click()
    policy = record_of(shared_daemon, cluster.uid).groups[0].adaptive
    assert policy is not None
    assert policy.policy is not None
    assert policy.policy.maximum == 2
    assert "Adaptive" in status.value
    request.value = 1
    scale.click()
    record = record_of(shared_daemon, cluster.uid)
    assert record.groups[0].adaptive is None
    assert record.groups[0].desired == 1
    assert "Manual" in status.value


def test_work_is_not_recovered_from_another_scheduler(make: Make, name: str) -> None:
    """A scheduler that keeps no work is told from one that has none."""
    from daskd_client.held import take_over

    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local, Client(local) as client:
        with pytest.raises(HeldWorkUnsupported, match="not started by daskd"):
            client.sync(take_over, client)
        with pytest.raises(ValueError, match="not connected"):
            make(name).recover(client)


def test_workers_that_do_not_come_are_a_timeout(make: Make, name: str) -> None:
    """Waiting for more workers than will come ends in Dask's own kind of timeout, with how many there are."""
    with pytest.raises(DaskTimeoutError, match="0 of 3 workers joined"):
        make(name).wait_for_workers(3, timeout=0.2)


def test_start_timeout_is_an_error_that_leaves_the_cluster(shared_daemon: DaemonProcess, name: str) -> None:
    """A start that takes longer than was allowed raises, and the daemon goes on with the cluster."""
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="The daemon goes on"):
        RemoteCluster(name, start_timeout=0.001, address=shared_daemon.address)
    assert time.monotonic() - began < 60
    RemoteCluster.attach(name, address=shared_daemon.address).shutdown()
