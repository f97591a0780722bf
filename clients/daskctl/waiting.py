"""Waiting until a cluster is as it was asked to be, fed by the daemon's watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

from daskd_client import AsyncDaskd, ClusterFailed, ClusterNotRunning, DaskdError
from daskd_client.types import Cluster, Phase
from daskd_client.waiting import FailureWatch, failing_error, who_is_missing

from .failures import WaitOver
from .render.clusters import what_hinders, workers
from .render.printer import Printer

TAIL_LINES = 20
"""How many lines of each log are shown of a cluster that failed."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a wait is for.

    Attributes
    ----------
    words
        As in "waiting until etl ...".
    reached
        Whether a cluster is there.
    ends
        Whether the goal is the cluster's end, so that its end fails nothing.
    wanted
        How many workers of each group it takes, by the group's name.
    """

    words: str
    reached: Callable[[Cluster], bool]
    ends: bool = False
    wanted: Callable[[Cluster], Mapping[str, int]] = lambda _cluster: {}


def started() -> Goal:
    """That the scheduler runs and every group has the workers that it should have."""
    return Goal(
        "runs with its workers",
        _has_workers,
        wanted=lambda cluster: {group.name: group.desired for group in cluster.groups},
    )


def scaled(group: str, n_workers: int) -> Goal:
    """That a group has `n_workers`, none of them on the way out; or is told to have another number meanwhile."""
    return Goal(
        f"has {n_workers} worker{'' if n_workers == 1 else 's'}",
        lambda cluster: _is_scaled(cluster, group, n_workers),
        wanted=lambda cluster: {group or cluster.groups[0].name: n_workers},
    )


def group_started(name: str) -> Goal:
    """That a group has the workers that it should have, or is being removed meanwhile."""
    return Goal(f"has the workers of group {name}", lambda cluster: _has_group(cluster, name))


def group_gone(name: str) -> Goal:
    """That a group is no more."""
    return Goal(f"is without group {name}", lambda cluster: all(group.name != name for group in cluster.groups))


def ended() -> Goal:
    """That nothing of it runs any more."""
    return Goal("has ended", has_ended, ends=True)


def has_ended(cluster: Cluster) -> bool:
    """Whether nothing of a cluster runs any more; a failed one may still be on its way there."""
    return cluster.end_time is not None or cluster.phase is Phase.STOPPED


def _has_workers(cluster: Cluster) -> bool:
    return cluster.phase is Phase.RUNNING and all(group.running >= group.desired for group in cluster.groups)


def _has_group(cluster: Cluster, name: str) -> bool:
    found = [group for group in cluster.groups if group.name == name and not group.removing]
    return not found or (cluster.phase is Phase.RUNNING and found[0].running >= found[0].desired)


def _is_scaled(cluster: Cluster, name: str, n_workers: int) -> bool:
    try:
        group = cluster.group(name)
    except KeyError:  # removed meanwhile
        return True
    return group.desired != n_workers or (group.running == n_workers and not group.ending)


def hopeless(cluster: Cluster, goal: Goal) -> bool:
    """Whether a cluster can't get there any more: it has ended.

    One that stops is followed to its end, for only there it says whether it failed, and why.
    """
    return cluster.ended and not goal.ends


def progress(cluster: Cluster, goal: Goal) -> str:
    """Where a wait is, in a line."""
    line = f"Waiting until {cluster.name} {goal.words}: {cluster.phase.name.lower()}, {workers(cluster)} workers"
    hindrance = what_hinders(cluster)
    return f"{line} ({hindrance})" if hindrance else line


async def until(daskd: AsyncDaskd, cluster: Cluster, goal: Goal, printer: Printer, timeout_s: float | None) -> Cluster:
    """Wait until a cluster has reached a goal; Ctrl-C leaves it alone and says so.

    Parameters
    ----------
    cluster
        As the daemon's last answer has it.
    timeout_s
        The most seconds to wait; None: as long as it takes.

    Returns
    -------
    Cluster
        As it is then.

    Raises
    ------
    ClusterFailed
        When it failed instead; with the tail of its logs.
    ClusterNotRunning
        When somebody ended it instead.
    WorkersFailing
        When workers that it takes fail to start again and again.
    WaitOver
        When the time was up; with what it waited for.
    """
    try:
        reached = await asyncio.wait_for(_follow(daskd, cluster, goal, printer), timeout_s)
    except asyncio.CancelledError:
        printer.tell(f"No longer waiting; the daemon goes on. See: daskctl get {cluster.name}")
        raise
    except asyncio.TimeoutError as error:
        if isinstance(error, DaskdError):
            raise  # a call's own deadline
        raise await _time_is_up(daskd, cluster, goal) from None
    if hopeless(reached, goal):
        raise await _why_not(daskd, reached, goal)
    return reached


async def _follow(daskd: AsyncDaskd, cluster: Cluster, goal: Goal, printer: Printer) -> Cluster:
    """The cluster once it reached the goal, or can't any more."""
    failures = FailureWatch(cluster)
    with printer.progress(progress(cluster, goal)) as show:
        # By uid: a name reaches live clusters only, and may be another's by the time that this one has ended.
        async with aclosing(daskd.watch(cluster.uid)) as changes:
            async for change in changes:
                if change.cluster is None:
                    continue
                cluster = change.cluster
                if goal.reached(cluster) or hopeless(cluster, goal):
                    return cluster
                if why := failures.hopeless(cluster, goal.wanted(cluster)):
                    raise failing_error(cluster, why)
                show(progress(cluster, goal))
    return await daskd.get(cluster.uid)


async def _time_is_up(daskd: AsyncDaskd, cluster: Cluster, goal: Goal) -> WaitOver:
    with suppress(DaskdError):  # what is known is worth telling
        cluster = await daskd.get(cluster.uid)
    words = [f"The time was up before {cluster.name} {goal.words}; the daemon goes on"]
    if not goal.ends:
        words += [await who_is_missing(daskd, cluster), " ".join(what_hinders(cluster).split())]
    return WaitOver(". ".join([*filter(None, words), f"See: daskctl get {cluster.name}"]))


async def _why_not(daskd: AsyncDaskd, cluster: Cluster, goal: Goal) -> ClusterFailed | ClusterNotRunning:
    if cluster.phase is not Phase.FAILED:
        by = f": {cluster.message}" if cluster.message else ""
        return ClusterNotRunning(f"{cluster.name} was ended before it {goal.words}{by}")
    message = f"{cluster.name} failed: {cluster.message or cluster.reason}"
    return ClusterFailed(message, log_tail=await _tail(daskd, cluster))


async def _tail(daskd: AsyncDaskd, cluster: Cluster) -> tuple[str, ...]:
    try:
        return tuple([line.text async for line in daskd.logs(cluster.uid, tail=TAIL_LINES)])
    except DaskdError:
        return ()  # without its log, what failed is still worth saying
