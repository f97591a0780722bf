"""A scheduler in the daemon's own process: like any other while the daemon lives, and it lives no longer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, InvalidSpec, RemoteCluster
from daskd_client.types import Cluster, ClusterSpec, SchedulerSpec, WorkerGroupSpec

from ..daemon_process import DaemonProcess, daemon_process, until

GROUP = WorkerGroupSpec(n_workers=1, nthreads=1, memory_limit="512MiB")
SPEC = ClusterSpec(groups=(GROUP,), scheduler=SchedulerSpec(placement="embedded"))

pytestmark = pytest.mark.real


@pytest.fixture
def lone() -> Iterator[DaemonProcess]:
    """A daemon that lets schedulers run in itself."""
    with daemon_process("[clusters]\nembedded = true\ngrace = 1\n") as process:
        process.start()
        yield process


def create(daemon: DaemonProcess, name: str = "etl", spec: ClusterSpec = SPEC) -> Cluster:
    """Have a cluster made."""

    async def made() -> Cluster:
        async with AsyncDaskd(daemon.address) as daskd:
            return await daskd.create(name, spec)

    return asyncio.run(made())


def get(daemon: DaemonProcess, uid: str) -> Cluster:
    """A cluster as it is now."""

    async def got() -> Cluster:
        async with AsyncDaskd(daemon.address) as daskd:
            return await daskd.get(uid)

    return asyncio.run(got())


def daskctl(daemon: DaemonProcess, *argv: str) -> Any:
    """What the command line answers."""
    command = [sys.executable, "-m", "daskctl", *argv, "-o", "json"]
    done = subprocess.run(command, env=daemon.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{daemon.log.read_text()[-3000:]}"
    return json.loads(done.stdout)


def compute(daemon: DaemonProcess, name: str = "etl") -> None:
    """A client of now gets a result."""
    with RemoteCluster.attach(name, address=daemon.address, quiet=True) as cluster, cluster.get_client() as client:
        assert client.submit(pow, 7, 2, pure=False).result(timeout=60) == 49


def pid_of(daemon: DaemonProcess) -> int:
    """The daemon's."""
    assert daemon.process is not None
    return daemon.process.pid


def test_it_computes_in_the_daemon_and_logs_like_any_other(lone: DaemonProcess) -> None:
    """Workers and clients come to it, its log is the cluster's and not the daemon's, and its end leaves nothing."""
    made = create(lone)
    compute(lone)
    scheduler = get(lone, made.uid).scheduler
    assert scheduler is not None
    assert scheduler.pid == pid_of(lone)
    lines = [line["text"] for line in daskctl(lone, "logs", "etl", "--scheduler")["lines"]]
    assert any("distributed.scheduler - INFO -" in line and "Scheduler at" in line for line in lines)
    daskctl(lone, "delete", "etl")
    ended = daskctl(lone, "logs", made.uid, "--scheduler")["lines"]
    assert "ends with code 0" in ended[-1]["text"]
    until(lambda: not lone.processes(), "nothing is left running")
    said = lone.log.read_text()
    assert "distributed.scheduler" not in said
    assert all(line.startswith("{") for line in said.splitlines()), said


def test_several_run_beside_each_other(lone: DaemonProcess) -> None:
    """The end of one does nothing to the other, whose log is its own."""
    create(lone)
    create(lone, "lab")
    compute(lone)
    compute(lone, "lab")
    daskctl(lone, "delete", "etl")
    compute(lone, "lab")
    (closed,) = {line["instance"] for line in daskctl(lone, "logs", "lab", "--scheduler")["lines"]}
    assert closed == get(lone, "lab").scheduler.instance  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_it_ends_with_the_daemon_and_is_started_again_by_the_next(lone: DaemonProcess, how: str) -> None:
    """At the same address, with workers, and with an event that tells what was lost."""
    made = create(lone)
    compute(lone)
    before = get(lone, made.uid).scheduler
    getattr(lone, how)()
    lone.start()
    until(lambda: _restarts(lone, made.uid) == 1, "it is started again")
    compute(lone)
    after = get(lone, made.uid).scheduler
    assert before is not None
    assert after is not None
    assert (after.address, after.pid) == (before.address, pid_of(lone))
    (lost,) = [each for each in daskctl(lone, "events", "etl")["events"] if each["type"] == "SCHEDULER_LOST"]
    assert "ended with the daemon" in lost["message"]


def _restarts(daemon: DaemonProcess, uid: str) -> int:
    scheduler = get(daemon, uid).scheduler
    return scheduler.restarts if scheduler is not None and scheduler.start_time else 0


def test_a_client_may_shut_it_down(lone: DaemonProcess) -> None:
    """`Client.shutdown` by address ends the cluster, and not the daemon."""
    made = create(lone)
    with RemoteCluster.attach("etl", address=lone.address, quiet=True) as cluster:
        client = Client(cluster.scheduler_address, security=cluster.security)
        client.shutdown()
    ended = until(lambda: (at := get(lone, made.uid)).ended and at, "the cluster has ended")
    assert "shut down by" in ended.message
    create(lone, "another")
    compute(lone, "another")


def test_one_that_hangs_holds_up_nobody_and_says_what_to_do(lone: DaemonProcess) -> None:
    """Users' code that keeps its thread: the daemon answers, and tells of a cluster that can't end how to end it."""
    made = create(lone)
    create(lone, "lab")
    compute(lone, "lab")
    with RemoteCluster.attach("etl", address=lone.address, quiet=True) as cluster:
        client = cluster.get_client()
        # the daemon is killed at the end of the test, and this thread with it
        client.loop.add_callback(client.scheduler.run_function, function=_dumped(_hang), args=b"", kwargs=b"")
        daskctl(lone, "delete", "etl", "--no-wait")
        until(lambda: "restart the daemon" in get(lone, made.uid).message, "it is told what to do")
        compute(lone, "lab")
    lone.restart()
    until(lambda: get(lone, made.uid).ended, "the next daemon has ended it")


def _hang() -> None:
    import threading

    threading.Event().wait()


def _dumped(function: Any) -> bytes:
    from distributed.protocol.pickle import dumps

    return dumps(function)


def test_it_is_refused_where_nobody_allowed_it(daemon: DaemonProcess) -> None:
    """By default users' code never runs in the daemon; the words say what allows it, and what it means."""
    with pytest.raises(InvalidSpec, match="users' code, in the daemon itself") as refused:
        create(daemon)
    assert [problem.field for problem in refused.value.problems] == ["scheduler.placement"]
    assert "clusters.embedded" in str(refused.value)
