"""A daemon that dies at a named point, and what must hold of its clusters once another has taken over."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from daskd_client import AsyncDaskd, DaemonUnavailable
from daskd_client.types import Cluster, Phase

from ..daemon_process import DaemonProcess, until
from .cluster_processes import command_line, role_of, running_of, supervised_by


async def eventually(condition: Callable[[], Awaitable[object]], what: str, timeout: float = 60.0) -> None:
    """Until that is true; fails when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        await asyncio.sleep(0.05)


def start_armed(daemon: DaemonProcess, point: str) -> None:
    """Start a daemon that will die at that point."""
    daemon.start(env={"DASKD_TEST_MODE": "1", "DASKD_CRASH_POINT": point})


def wait_for_death(daemon: DaemonProcess) -> None:
    """Until it has died of its own signal."""
    process = daemon.process
    assert process is not None
    until(lambda: process.poll() is not None, "the daemon dies at its point")
    assert process.returncode == -signal.SIGKILL, daemon.log.read_text()[-3000:]
    daemon.kill()  # its socket file goes, so that the next one is waited for


async def asked_through_death(daemon: DaemonProcess, ask: Callable[[], Awaitable[Cluster]]) -> Cluster:
    """What is asked of a daemon that dies of it is answered by the next one: a call that failed is made again."""
    asking = asyncio.ensure_future(ask())
    await asyncio.to_thread(wait_for_death, daemon)
    await asyncio.to_thread(daemon.start)
    try:
        return await asking
    except DaemonUnavailable:
        return await ask()


def supervised(daemon: DaemonProcess, uid: str) -> Counter[str]:
    """How many supervisors each instance of a cluster has."""
    overseers = (pid for pid in running_of(daemon, uid) if role_of(pid) == "supervisor")
    folders = (folder for pid in overseers if (folder := supervised_by(pid)))
    return Counter(Path(folder).name for folder in folders)


async def converged(daskd: AsyncDaskd, uid: str, n: int) -> bool:
    """Whether a cluster runs with so many workers, none coming or going, and none of those that went has a process."""
    cluster: Cluster = await daskd.get(uid)
    group = cluster.groups[0]
    counts = (group.desired, group.running, group.pending, group.ending)
    is_there = cluster.phase is Phase.RUNNING and counts == (n, n, 0, 0)
    return is_there and len(await daskd.workers(uid)) == n


async def check_launched_once(daemon: DaemonProcess, daskd: AsyncDaskd, uid: str, n: int) -> None:
    """Each instance of the record has one supervisor, and nothing else has one."""
    workers = {worker.instance for worker in await daskd.workers(uid)}
    assert len(workers) == n

    async def is_all() -> bool:
        found = supervised(daemon, uid)
        assert set(found.values()) == {1}, found
        assert workers < set(found)
        return len(found) == n + 1

    # a supervisor writes down the end of its instance, and then has its own
    await eventually(is_all, "nothing is supervised but the nodes and the scheduler", timeout=10.0)


async def check_gone(daemon: DaemonProcess, uid: str) -> None:
    """Nothing of a cluster that has ended runs, but for a moment its zygote and the last of its supervisors."""

    async def is_gone() -> bool:
        left = [pid for pid in running_of(daemon, uid) if command_line(pid)]
        assert {role_of(pid) for pid in left} <= {"supervisor", "zygote", ""}, [command_line(pid) for pid in left]
        return not left

    await eventually(is_gone, "nothing is left running", timeout=10.0)
