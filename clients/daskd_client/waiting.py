"""Waiting for a cluster to run, or to be gone, fed by a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime, timezone

from .api import AsyncDaskd
from .errors import ClusterFailed, ClusterNotFound, ClusterNotRunning, DaskdError, DeadlineExceeded, WorkersFailing
from .progress import describe
from .types import Cluster, LogLine, Phase, Worker, WorkerState

FAILS_REPEATEDLY = 3
"""So many failed launches in a row are no bad luck any more."""

FAILS_WITHOUT_ANY = 6
"""So many where there is no worker at all: if there never was one, the daemon itself says sooner that it failed."""

_NAMED = 3  # workers that are told of by name
_LOG_TAIL = 15  # lines
_LOG_WAIT = 5.0  # seconds: the failure is the news, its log an addition


async def wait_until(
    daskd: AsyncDaskd, cluster: Cluster, is_reached: Callable[[Cluster], bool], show: Callable[[Cluster], None]
) -> Cluster:
    """Watch a cluster until `is_reached` says so of its record, each of which `show` is told."""
    show(cluster)
    if is_reached(cluster):
        return cluster
    async with aclosing(daskd.watch(cluster.uid)) as changes:
        async for change in changes:
            if change.cluster is None:
                continue
            cluster = change.cluster
            show(cluster)
            if is_reached(cluster):
                break
    return cluster


async def wait_for_start(
    daskd: AsyncDaskd, cluster: Cluster, timeout: float | None, show: Callable[[Cluster], None]
) -> Cluster:
    """Wait until a cluster's scheduler takes clients.

    Raises
    ------
    ClusterFailed
        It can't be started.
    ClusterNotRunning
        It was ended meanwhile.
    DeadlineExceeded
        `timeout` seconds went by; the daemon goes on starting it.
    """
    is_at_rest = lambda record: record.phase is Phase.RUNNING or record.phase is Phase.STOPPING or record.ended  # noqa: E731
    last = cluster

    def note(record: Cluster) -> None:
        nonlocal last
        last = record
        show(record)

    try:
        record = await asyncio.wait_for(wait_until(daskd, cluster, is_at_rest, note), timeout)
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded(
            f"Cluster {cluster.name!r} did not start within {timeout:g} s. {describe(last)}. The daemon goes on: "
            f"attach to it later by RemoteCluster.attach({cluster.name!r}), see `daskctl get {cluster.name}` for why "
            "it waits, or give it longer by start_timeout=.",
            facts={"name": cluster.name, "uid": cluster.uid, "timeout": f"{timeout:g}"},
        ) from error
    if record.phase is Phase.RUNNING:
        return record
    raise await end_error(daskd, record)


async def wait_for_end(daskd: AsyncDaskd, cluster: Cluster, timeout: float | None) -> None:
    """Wait until nothing of a cluster runs any more.

    Raises
    ------
    DeadlineExceeded
        `timeout` seconds went by; the daemon goes on ending it.
    """
    try:
        await asyncio.wait_for(wait_until(daskd, cluster, lambda record: record.ended, lambda _: None), timeout)
    except ClusterNotFound:
        return  # so long gone that it is forgotten
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded(
            f"Cluster {cluster.name!r} has not ended within {timeout:g} s. The daemon goes on ending it; "
            f"`daskctl get {cluster.uid}` says what it waits for.",
            facts={"name": cluster.name, "uid": cluster.uid, "timeout": f"{timeout:g}"},
        ) from error


async def end_error(daskd: AsyncDaskd, cluster: Cluster) -> DaskdError:
    """The error that says why a cluster does not run; a failed one's has the end of its log."""
    facts = {"name": cluster.name, "uid": cluster.uid, "phase": cluster.phase.value, "reason": cluster.reason}
    if cluster.phase is Phase.FAILED:
        message = f"Cluster {cluster.name!r} failed: {cluster.message or cluster.reason or 'the daemon said no more'}"
        return ClusterFailed(message, log_tail=await _log_tail(daskd, cluster.uid), facts=facts)
    if cluster.phase is Phase.RUNNING:
        mend = f"attach to it again by RemoteCluster.attach({cluster.name!r})"
        return ClusterNotRunning(f"This object has left cluster {cluster.name!r}, which goes on: {mend}.", facts=facts)
    word = "is being ended" if cluster.phase is Phase.STOPPING else "has ended"
    why = f": {cluster.message}" if cluster.message else "."
    return ClusterNotRunning(f"Cluster {cluster.name!r} {word}{why}", facts=facts)


class FailureWatch:
    """Sees that workers which are waited for won't come: their group fails again and again.

    Parameters
    ----------
    cluster
        As it is when the wait begins. What failed before, and was mended meanwhile, fails no wait.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._before = {group.name: group.failures for group in cluster.groups}

    def hopeless(self, cluster: Cluster, wanted: Mapping[str, int]) -> str:
        """Why so many workers of each group won't be there; empty while they may.

        Parameters
        ----------
        wanted
            How many are waited for, by the group's name.
        """
        least = FAILS_REPEATEDLY if any(group.running for group in cluster.groups) else FAILS_WITHOUT_ANY
        for group in cluster.groups:
            if not group.failures:
                self._before[group.name] = 0
            bound = max(least, self._before.get(group.name, 0) + 1)
            if group.failures >= bound and group.running < wanted.get(group.name, 0):
                return f"group {group.name!r} failed to start {group.failures} times in a row: {group.message}"
        return ""


def failing_error(cluster: Cluster, why: str) -> WorkersFailing:
    """The error that says why workers won't come."""
    return WorkersFailing(
        f"The workers of cluster {cluster.name!r} can't be started: {why}\nThe daemon goes on trying; "
        f"`daskctl events {cluster.name}` has what it did.",
        facts={"name": cluster.name, "uid": cluster.uid},
    )


async def who_is_missing(daskd: AsyncDaskd, cluster: Cluster) -> str:
    """The workers that have not joined, in words: which they are, since when they are on their way, what hinders them.

    Empty when all have joined, or the daemon does not say.
    """
    try:
        workers = await daskd.workers(cluster.uid)
    except DaskdError:
        return ""  # an addition to what is told anyhow
    now = datetime.now(timezone.utc)
    late = [worker for worker in workers if worker.state is not WorkerState.RUNNING]
    words = [_describe(worker, now) for worker in late[:_NAMED]]
    if len(late) > _NAMED:
        words.append(f"and {len(late) - _NAMED} more")
    return "; ".join(words)


def _describe(worker: Worker, now: datetime) -> str:
    since = ""
    if worker.launch_time is not None:
        since = f" for {max(0.0, (now - worker.launch_time).total_seconds()):.0f} s"
    why = f": {' '.join(worker.message.split())}" if worker.message else ""
    return f"{worker.name} is {worker.state.value}{since}{why}"


async def _log_tail(daskd: AsyncDaskd, uid: str) -> tuple[str, ...]:
    lines: list[LogLine] = []

    async def read() -> None:
        async with aclosing(daskd.logs(uid, tail=_LOG_TAIL)) as log:
            async for line in log:
                lines.append(line)  # noqa: PERF401 - what was read before a failure shall stay

    with suppress(DaskdError, asyncio.TimeoutError):  # whatever came is better than nothing
        await asyncio.wait_for(read(), _LOG_WAIT)
    timed = sorted(lines, key=lambda line: line.time.timestamp() if line.time else 0.0)
    return tuple(line.text for line in timed[-_LOG_TAIL:])
