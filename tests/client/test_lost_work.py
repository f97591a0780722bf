"""Work outlives the process that asked for it: recovering it, and what counts as a goodbye."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, wait
from jupyter_client.manager import KernelManager

from daskd_client import RebindingClient, RemoteCluster

from ..daemon_process import DaemonProcess, until
from .tasks import behind, fail, increment

ROOT = Path(__file__).parents[2]

SUBMIT = """
    import sys
    from distributed import Client
    from daskd_client import RemoteCluster
    from tests.client.tasks import behind, fail, increment
    cluster = RemoteCluster.attach({name!r}, address={address!r}, on_exit={on_exit!r})
    client = Client(cluster)
    futures = [client.submit(behind, {gate!r}, n, pure=False) for n in range(4)]
    failed = client.submit(fail, 7)
    # Its result says that the scheduler knows them all; kept, for a kill may come before its release is told.
    done = client.submit(increment, 1)
    assert done.result() == 2
"""


@pytest.fixture
def cluster(make: Callable[..., Any], name: str) -> RemoteCluster:
    """A cluster with threads enough for all that a test lets wait."""
    cluster: RemoteCluster = make(name, n_workers=1, worker={"nthreads": 12})
    cluster.wait_for_workers(1, timeout=60)
    return cluster


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that the tasks wait for."""
    return tmp_path / "gate"


def program(cluster: RemoteCluster, gate: Path, end: str, on_exit: str = "keep") -> str:
    """A session that has six futures, of four gated tasks, a failing and a done one, and ends as `end` says."""
    address = cluster._view.daskd.address
    begin = SUBMIT.format(name=cluster.name, address=address, on_exit=on_exit, gate=str(gate))
    return textwrap.dedent(begin) + textwrap.dedent(end)


@contextmanager
def session(source: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `source`."""
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(source: str) -> str:
    """Run `source` to its end; what it wrote to stderr."""
    with session(source) as process:
        return process.communicate(timeout=60)[1]


def held_keys(cluster: RemoteCluster) -> int:
    """How many keys lost clients left."""
    return sum(work.keys for work in cluster.lost_work())


def test_a_killed_sessions_work_is_recovered(cluster: RemoteCluster, gate: Path) -> None:
    """kill -9 in the middle: what ran goes on, and its results and failures arrive in futures of another client."""
    with session(program(cluster, gate, "print('ready', flush=True); sys.stdin.read()")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    until(lambda: held_keys(cluster) == 6, "its work is held")
    with Client(cluster) as client:
        futures = cluster.recover(client)
        assert len(futures) == 6
        gate.touch()
        wait(list(futures.values()), timeout=60)
        good = sorted(future.result() for future in futures.values() if future.status == "finished")
        bad = [future for future in futures.values() if future.status == "error"]
        assert good == [0, 1, 2, 2, 3]
        with pytest.raises(RuntimeError, match="failed on purpose: 7"):
            bad[0].result()
        assert held_keys(cluster) == 0
    assert cluster.lost_work() == []


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise RuntimeError('the cell failed')",
        "sys.exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    ],
    ids=["end of the script", "exception", "sys.exit", "Ctrl-C"],
)
def test_the_end_of_a_session_is_no_goodbye(cluster: RemoteCluster, gate: Path, end: str) -> None:
    """However a Python process ends, what it was computing is kept."""
    run(program(cluster, gate, end))
    until(lambda: held_keys(cluster) == 6, "its work is held")


@pytest.mark.parametrize(
    ("end", "on_exit"),
    [("client.close()", "keep"), ("with client: pass", "keep"), ("", "release")],
    ids=["close", "context", "release"],
)
def test_a_goodbye_leaves_nothing(cluster: RemoteCluster, gate: Path, end: str, on_exit: str) -> None:
    """`Client.close`, leaving its context, and ``on_exit="release"`` let go of the client's work."""
    run(program(cluster, gate, end, on_exit))
    assert held_keys(cluster) == 0


def test_every_client_of_a_session_is_kept(cluster: RemoteCluster, gate: Path) -> None:
    """At the end of a process all its clients hand over their work, those made by address too."""
    end = """
        second = Client(cluster.scheduler_address, security=cluster.security, set_as_default=False)
        more = [second.submit(behind, "GATE", n, pure=False) for n in range(3)]
        also = second.submit(increment, 2)
        assert also.result() == 3
    """
    run(program(cluster, gate, textwrap.dedent(end).replace("GATE", str(gate))))
    until(lambda: held_keys(cluster) == 10, "the work of both is held")


def test_a_restarted_kernels_work_is_kept(cluster: RemoteCluster, gate: Path) -> None:
    """A notebook kernel's Restart is no goodbye, and the new kernel finds the work by running the same cell."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(ROOT))
    try:
        _execute(manager, program(cluster, gate, ""))
        manager.restart_kernel(now=False)
        until(lambda: held_keys(cluster) == 6, "its work is held")
    finally:
        manager.shutdown_kernel(now=True)


def _execute(manager: KernelManager, source: str) -> None:
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive(source, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()


def test_lost_work_can_be_discarded(cluster: RemoteCluster, gate: Path) -> None:
    """What a lost client left is let go on demand, and the answer says how much it was."""
    run(program(cluster, gate, ""))
    until(lambda: held_keys(cluster) == 6, "its work is held")
    assert cluster.discard_lost_work().keys == 6
    assert held_keys(cluster) == 0


def test_only_one_clients_work_is_recovered_on_demand(cluster: RemoteCluster, gate: Path) -> None:
    """`recover` takes one lost client's work alone where it is told to."""
    run(program(cluster, gate, ""))
    until(lambda: held_keys(cluster) == 6, "the first's work is held")
    (first,) = cluster.lost_work()
    with Client(cluster) as client:
        assert cluster.recover(client, lost=["nobody"]) == {}
        assert len(cluster.recover(client, lost=[first.client])) == 6


def test_futures_are_bound_again_after_a_broken_connection(cluster: RemoteCluster, gate: Path) -> None:
    """`get_client`'s futures live through a broken connection: what ran is finished, what waits is told."""
    with cluster.get_client() as client:
        assert isinstance(client, RebindingClient)
        running = client.submit(behind, str(gate), 1)
        failed = client.submit(fail, 2)
        wait(failed, timeout=60)
        released = client.submit(behind, str(gate), 3)
        _break(client)
        del released
        gate.touch()
        assert running.result(60) == 1
        assert failed.status == "error"
        until(lambda: set(client.futures) == {running.key, failed.key}, "what was released meanwhile is gone")
    assert cluster.lost_work() == []


def test_the_same_call_in_a_new_session_joins_what_runs(cluster: RemoteCluster, gate: Path) -> None:
    """Submitted again after its session ended, a call finds its task, which is not computed twice."""
    end = f"again = client.submit(behind, {str(gate)!r}, 100); also = client.submit(increment, 3); also.result()"
    run(program(cluster, gate, end))
    until(lambda: held_keys(cluster) == 8, "its work is held")
    with Client(cluster) as client:
        future = client.submit(behind, str(gate), 100)
        gate.touch()
        assert future.result(60) == 100
    assert Path(f"{gate}.begun").read_text().split().count("100") == 1


def test_futures_of_a_dead_scheduler_are_cancelled(make: Callable[..., Any], name: str, gate: Path) -> None:
    """What died with its scheduler is told so and waits for nothing; the same client computes with the next one."""
    cluster = make(name, n_workers=1, worker={"nthreads": 12}, on_scheduler_loss="restart")
    cluster.wait_for_workers(1, timeout=60)
    with cluster.get_client() as client:
        future = client.submit(behind, str(gate), 1)
        assert client.submit(increment, 1).result(60) == 2
        assert cluster.record.scheduler is not None
        os.kill(cluster.record.scheduler.pid, signal.SIGKILL)
        with pytest.raises(CancelledError):
            future.result(60)
        assert client.submit(increment, 2).result(60) == 3
        until(lambda: len(cluster.scheduler_info["workers"]) == 1, "the object follows the new scheduler")


def _break(client: Client) -> None:
    """Break a client's connection, as a network does."""

    async def abort() -> None:
        client.scheduler_comm.comm.abort()

    client.sync(abort)
    until(lambda: client.status == "running" and client.scheduler_comm is not None, "it is connected again")


def test_the_daemons_death_keeps_lost_work(daemon: DaemonProcess, gate: Path) -> None:
    """Work of a session that was lost while no daemon lived is there for the next daemon to tell."""
    cluster = RemoteCluster("etl", n_workers=1, worker={"nthreads": 12}, address=daemon.address)
    cluster.wait_for_workers(1, timeout=60)
    with session(program(cluster, gate, "print('ready', flush=True); sys.stdin.read()")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        daemon.kill()
        process.kill()
        process.wait(60)
    daemon.start()
    until(lambda: held_keys(cluster) == 6, "its work is held")
    cluster.shutdown()
