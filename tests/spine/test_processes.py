"""Processes of a cluster that die, or never start: it is mended, and it is told what happened and why."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from daskd_client import AsyncDaskd
from daskd_client.types import Cluster, ClusterSpec, Event, Phase, WorkerGroupSpec

from ..daemon_process import DaemonProcess, daemon_process
from .cluster_processes import of_role, role_of, running_of
from .killed_daemon import check_gone, check_launched_once, converged, eventually

pytestmark = pytest.mark.real

FAILURES = 3


@pytest.fixture(scope="module")
def served() -> Iterator[DaemonProcess]:
    """One daemon for all tests of this module that a process runs; it gives up soon."""
    with daemon_process(f"[clusters]\nmax_launch_failures = {FAILURES}\n") as daemon:
        daemon.start()
        yield daemon


def small(n: int = 1, python: str = "", environment: dict[str, str] | None = None) -> ClusterSpec:
    """A cluster of so many small workers; where its Python is a script, every instance is started by that."""
    # what has an environment of its own is not forked from the zygote
    own = {"OF_ITS_OWN": "1"} if python else {}
    group = WorkerGroupSpec(n_workers=n, nthreads=1, memory_limit="256MiB", environment=own)
    return ClusterSpec(groups=(group,), python=python, environment=environment or {})


def script(folder: Path, name: str, text: str, mode: int = 0o755) -> str:
    """A program of so many lines of shell."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


async def told(daskd: AsyncDaskd, uid: str, type_: str) -> list[Event]:
    """Events of one type."""
    return [event for event in await daskd.events(uid) if event.type == type_]


async def log_of(daskd: AsyncDaskd, uid: str, worker: str = "") -> str:
    """A cluster's log as one text."""
    return "\n".join([line.text async for line in daskd.logs(uid, worker=worker)])


async def ended(daskd: AsyncDaskd, uid: str) -> bool:
    """Whether nothing of it runs any more."""
    return (await daskd.get(uid)).end_time is not None


async def finish(daemon: DaemonProcess, daskd: AsyncDaskd, uid: str) -> None:
    """Delete it, and see that it goes."""
    await daskd.delete(uid)
    await eventually(lambda: ended(daskd, uid), "it has ended")
    await check_gone(daemon, uid)


DEATHS = {
    "node": ("WORKER_LOST", "default-.* ended unasked: was killed by SIGKILL"),
    "supervisor": ("WORKER_LOST", "default-.* ended unasked: its supervisor was killed"),
    "scheduler": ("SCHEDULER_LOST", "the scheduler ended unasked: was killed by SIGKILL.* goes on with its work"),
}


@pytest.mark.parametrize("role", DEATHS)
async def test_what_is_killed_is_replaced_and_told(served: DaemonProcess, role: str) -> None:
    """kill -9 of a part of a cluster: it comes back to its size, one process each, and an event names the cause."""
    type_, words = DEATHS[role]
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(2))
        await eventually(lambda: converged(daskd, cluster.uid, 2), "it runs")
        address = (await daskd.get(cluster.uid)).scheduler.address
        victim = of_role(served, cluster.uid, role)[0]
        os.kill(victim, signal.SIGKILL)

        async def is_mended() -> bool:
            return bool(await told(daskd, cluster.uid, type_)) and await converged(daskd, cluster.uid, 2)

        await eventually(is_mended, f"the {role} is replaced")
        (event,) = await told(daskd, cluster.uid, type_)
        assert re.search(words, event.message), event.message
        assert victim not in running_of(served, cluster.uid)
        assert (await daskd.get(cluster.uid)).scheduler.address == address
        await check_launched_once(served, daskd, cluster.uid, 2)
        for worker in await daskd.workers(cluster.uid, include_ended=True):
            assert await log_of(daskd, cluster.uid, worker.instance), "its log is there, dead or alive"
        await finish(served, daskd, cluster.uid)


async def test_a_killed_worker_process_is_restarted_and_told(served: DaemonProcess) -> None:
    """kill -9 of a worker's own process: its node starts it again, and an event names worker and signal."""
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(1))
        await eventually(lambda: converged(daskd, cluster.uid, 1), "it runs")
        (before,) = await daskd.workers(cluster.uid)
        assert before.pid is not None

        async def is_known_to_its_node() -> bool:
            return f"worker-started: worker {before.name}" in await log_of(daskd, cluster.uid, before.name)

        # one that dies while it starts is one that could not start, and its signal is not known
        await eventually(is_known_to_its_node, "its node has seen it start")
        os.kill(before.pid, signal.SIGKILL)

        async def is_mended() -> bool:
            return bool(await told(daskd, cluster.uid, "WORKER_RESTARTED")) and await converged(daskd, cluster.uid, 1)

        await eventually(is_mended, "the worker is back")
        (event,) = await told(daskd, cluster.uid, "WORKER_RESTARTED")
        assert before.name in event.message
        assert re.search("SIGKILL|signal 9", event.message)
        (after,) = await daskd.workers(cluster.uid)
        assert (after.name, after.instance) == (before.name, before.instance)
        assert after.pid != before.pid
        await finish(served, daskd, cluster.uid)


def missing(folder: Path) -> str:
    """A path where there is no Python."""
    return str(folder / "no-such-python")


def not_executable(folder: Path) -> str:
    """A file that may not be executed."""
    return script(folder, "not-executable", "exit 0", mode=0o644)


def without_distributed(folder: Path) -> str:
    """A Python that has no packages of its own."""
    return script(folder, "bare-python", f'exec {sys.executable} -S "$@"')


NEVER: dict[str, tuple[Callable[[Path], str], str, bool]] = {
    "not there": (missing, "no-such-python.*No such file", False),
    "not executable": (not_executable, "not-executable.*Permission denied|not-executable.*Exec format", False),
    "without distributed": (without_distributed, "distributed", True),
}


@pytest.mark.parametrize("what", NEVER)
async def test_a_python_that_can_not_do_fails_the_cluster_at_once(served: DaemonProcess, what: str) -> None:
    """A Python that isn't there, may not run or lacks distributed makes FAILED of it at the first try, and says so."""
    make, words, logs = NEVER[what]
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(1, make(served.folder)))
        await eventually(lambda: ended(daskd, cluster.uid), "it has failed")
        after = await daskd.get(cluster.uid)
        assert after.phase is Phase.FAILED
        assert re.search(words, after.message), after.message
        # the first node is launched with the scheduler, which it waits for
        assert len(os.listdir(served.state_dir / "clusters" / cluster.uid / "instances")) <= 2, "it was tried once"
        (failed,) = await told(daskd, cluster.uid, "FAILED")
        assert failed.message == after.message
        log = await log_of(daskd, cluster.uid)
        assert log, "the log of what never started is there"
        assert not logs or "distributed" in log
        await check_gone(served, cluster.uid)


async def test_a_node_that_never_starts_is_tried_again_later_and_later(served: DaemonProcess) -> None:
    """Nodes that fail one after the other are launched at growing intervals, a bounded number of times, then FAILED."""
    python = script(
        served.folder,
        "no-licence",
        f'if [ "$3" = node ]; then echo "no licence left" >&2; exit 3; fi\nexec {sys.executable} "$@"',
    )
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(1, python))
        await eventually(lambda: ended(daskd, cluster.uid), "it has failed")
        after: Cluster = await daskd.get(cluster.uid)
        assert after.phase is Phase.FAILED
        assert f"{FAILURES} times in a row" in after.message
        assert "exited with code 3" in await described(daskd, cluster.uid)
        assert "no licence left" in after.message
        launched = sorted(w.launch_time for w in await daskd.workers(cluster.uid, include_ended=True) if w.launch_time)
        assert len(launched) == FAILURES
        gaps = [later - earlier for earlier, later in pairwise(launched)]
        assert gaps[0] >= timedelta(seconds=0.75)
        assert gaps[1] >= timedelta(seconds=1.5)
        await check_gone(served, cluster.uid)


async def described(daskd: AsyncDaskd, uid: str) -> str:
    """What the events say of failed starts."""
    return "\n".join(event.message for event in await told(daskd, uid, "WORKER_START_FAILED"))


async def test_a_cluster_that_loses_its_workers_goes_on_trying(served: DaemonProcess) -> None:
    """A cluster that had a worker is not given up when new ones fail: it says why, and mends once it can."""
    fault = served.folder / "fault"
    python = script(
        served.folder,
        "now-and-then",
        f'if [ "$3" = node ] && [ -e {fault} ]; then echo "disk is full"; exit 4; fi\nexec {sys.executable} "$@"',
    )
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(1, python))
        await eventually(lambda: converged(daskd, cluster.uid, 1), "it runs")
        fault.touch()
        os.kill(of_role(served, cluster.uid, "node")[0], signal.SIGTERM)

        async def is_failing() -> bool:
            now = await daskd.get(cluster.uid)
            return now.reason == "WORKERS_FAILING" and "disk is full" in now.message

        await eventually(is_failing, "it says why")
        fault.unlink()
        await eventually(lambda: converged(daskd, cluster.uid, 1), "it is mended")
        await finish(served, daskd, cluster.uid)


async def test_a_supervisors_death_leaves_nothing_running(served: DaemonProcess) -> None:
    """kill -9 of every supervisor at once leaves no process of a cluster but those that are launched anew."""
    async with AsyncDaskd(served.address) as daskd:
        cluster = await daskd.create("", small(1))
        await eventually(lambda: converged(daskd, cluster.uid, 1), "it runs")
        # the zygote is nobody's to supervise, and forks what comes next
        before = [pid for pid in running_of(served, cluster.uid) if role_of(pid) != "zygote"]
        for pid in before:
            if role_of(pid) == "supervisor":
                os.kill(pid, signal.SIGKILL)

        async def is_mended() -> bool:
            gone = not set(before) & set(running_of(served, cluster.uid))
            return gone and await converged(daskd, cluster.uid, 1)

        await eventually(is_mended, "scheduler and node are replaced")
        await finish(served, daskd, cluster.uid)
