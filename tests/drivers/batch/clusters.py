"""What tests of clusters of jobs wait for, and read of what their users are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import Cluster, Phase
from tests.daemon_process import DaemonProcess
from tests.spine.killed_daemon import eventually

from .lab import PARTITION

NAME = "sim"
SLOW = 240.0
"""For what the daemon itself waits for a minute or two with."""


def create(daemon: DaemonProcess, n: int, **more: Any) -> RemoteCluster:
    """A cluster of Slurm's jobs, as users ask for one."""
    return RemoteCluster(
        NAME,
        address=daemon.address,
        driver="slurm",
        n_workers=n,
        worker={"nthreads": 1, "memory_limit": "300MB"},
        options={"queue": PARTITION, "walltime": "00:30:00"},
        **more,
    )


def add(x: int) -> int:
    """A task."""
    return x + 1


def has(n: int) -> Callable[[Cluster], bool]:
    """Whether a cluster runs with so many workers, none coming or going."""

    def told(cluster: Cluster) -> bool:
        group = cluster.groups[0]
        return cluster.phase is Phase.RUNNING and (group.running, group.pending, group.ending) == (n, 0, 0)

    return told


async def comes_to(
    daskd: AsyncDaskd, is_so: Callable[[Cluster], bool], what: str, timeout: float = 90.0, of: str = NAME
) -> Cluster:
    """The cluster, once it is so."""
    found: list[Cluster] = []

    async def looked() -> bool:
        found[:] = [await daskd.get(of)]
        return is_so(found[0])

    try:
        await eventually(looked, what, timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found}") from error
    return found[0]


async def messages(daskd: AsyncDaskd, type_: str) -> list[str]:
    """What the events of a type say."""
    return [event.message for event in await daskd.events(NAME) if event.type == type_]


async def told(daskd: AsyncDaskd, type_: str) -> str:
    """The messages of the events of a type, put together."""
    return "\n".join(await messages(daskd, type_))


def until_told(daskd: AsyncDaskd, type_: str, words: str) -> Callable[[], Awaitable[bool]]:
    """Whether an event of a type has these words."""

    async def is_told() -> bool:
        return words in await told(daskd, type_)

    return is_told


async def eventually_true(condition: Callable[[], bool], what: str, timeout: float = 90.0) -> None:
    """Until that is true of what is asked without awaiting."""

    async def looked() -> bool:
        return condition()

    await eventually(looked, what, timeout)
