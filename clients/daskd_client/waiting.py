"""Waiting for a cluster to run, or to be gone, fed by a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

from .api import AsyncDaskd
from .errors import ClusterFailed, ClusterNotFound, ClusterNotRunning, DaskdError, DeadlineExceeded
from .types import Cluster, LogLine, Phase

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
    try:
        record = await asyncio.wait_for(wait_until(daskd, cluster, is_at_rest, show), timeout)
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded(
            f"Cluster {cluster.name!r} did not start within {timeout:g} s. The daemon goes on: attach to it later by "
            f"RemoteCluster.attach({cluster.name!r}), see `daskctl get {cluster.name}` for why it waits, or give it "
            "longer by start_timeout=.",
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
