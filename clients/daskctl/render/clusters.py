"""How clusters look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from daskd_client.types import Cluster, DashboardLink, Phase, SchedulerStatus, WorkerGroupStatus

from . import amounts, moments
from .table import Cell, Column, when_due, when_past

_STYLES = {
    Phase.PENDING: "yellow",
    Phase.STARTING: "yellow",
    Phase.RUNNING: "green",
    Phase.STOPPING: "yellow",
    Phase.STOPPED: "dim",
    Phase.FAILED: "bold red",
}


def phase(cluster: Cluster) -> Cell:
    """The phase, in its colour."""
    return Cell(cluster.phase.name, style=_STYLES.get(cluster.phase, ""))


def workers(cluster: Cluster) -> str:
    """Workers that have joined, of those that there should be: "3/4"."""
    running = sum(group.running for group in cluster.groups)
    return f"{running}/{sum(group.desired for group in cluster.groups)}"


def bounds(group: WorkerGroupStatus) -> str:
    """The bounds of a group's adaptive policy: "0..10"; nothing without one."""
    policy = group.adaptive.policy if group.adaptive is not None else None
    if policy is None:
        return ""
    return f"{policy.minimum or 0}..{'' if policy.maximum is None else policy.maximum}"


def what_hinders(cluster: Cluster) -> str:
    """The cluster's message, else its groups'."""
    return cluster.message or "; ".join(f"{group.name}: {group.message}" for group in cluster.groups if group.message)


def drivers(cluster: Cluster) -> str:
    """The drivers of its groups, each once, in order."""
    return ",".join(dict.fromkeys(group.driver for group in cluster.groups))


def _ended_marks_uid(cluster: Cluster) -> Cell:
    # A name reaches the live only, so an ended cluster is of use to people by its uid alone.
    return Cell(cluster.uid, cluster.uid if cluster.end_time else "")


ROW: tuple[Column[Cluster], ...] = (
    Column("NAME", lambda cluster, _now: Cell(cluster.name, style="bold")),
    Column("OWNER", lambda cluster, _now: Cell(cluster.owner)),
    Column("PHASE", lambda cluster, _now: phase(cluster)),
    Column("WORKERS", lambda cluster, _now: Cell(workers(cluster)), right=True),
    Column("ADAPTIVE", lambda cluster, _now: Cell(",".join(filter(None, map(bounds, cluster.groups))))),
    Column("DRIVER", lambda cluster, _now: Cell(drivers(cluster))),
    Column("CREATED", lambda cluster, now: when_past(cluster.create_time, now)),
    Column("UID", lambda cluster, _now: Cell(cluster.uid), pipe_only=True),
    Column("MESSAGE", lambda cluster, _now: Cell(what_hinders(cluster)), wraps=True),
)
"""One cluster a line."""

ROW_WITH_UID: tuple[Column[Cluster], ...] = tuple(
    Column("UID", lambda cluster, _now: _ended_marks_uid(cluster)) if column.header == "UID" else column
    for column in ROW
)
"""The same where ended clusters are among them: a name reaches live ones only."""


def shared_with(cluster: Cluster) -> str:
    """Whom it is shared with, and what they may do."""
    return ", ".join(f"{grant.who} ({grant.right.name.lower()})" for grant in cluster.grants)


SHARED_ROW: tuple[Column[Cluster], ...] = (
    Column("NAME", lambda cluster, _now: Cell(cluster.name, style="bold")),
    Column("OWNER", lambda cluster, _now: Cell(cluster.owner)),
    Column("SHARED WITH", lambda cluster, _now: Cell(shared_with(cluster)), wraps=True),
)
"""One cluster a line, with whom it is shared with."""


def facts(cluster: Cluster, now: datetime) -> Iterator[tuple[str, Cell]]:
    """A cluster at length."""
    yield "name", Cell(cluster.name, style="bold")
    yield "uid", Cell(cluster.uid)
    yield "owner", Cell(cluster.owner)
    yield "shared with", Cell(shared_with(cluster))
    yield "phase", phase(cluster)
    yield "reason", Cell(cluster.reason)
    yield "message", Cell(cluster.message)
    yield "created", when_past(cluster.create_time, now)
    yield "ended", when_past(cluster.end_time, now)
    if cluster.end_time is None:
        yield "ends", when_due(cluster.expire_time, now)
    yield "idle since", when_past(cluster.idle_since, now)
    yield from _scheduler_facts(cluster, now)
    for group in cluster.groups:
        yield f"group {group.name}", _group(group)
        yield from _adaptive_facts(group, now)
    for tasks in cluster.unplaceable_tasks:
        yield "cannot run", Cell(tasks.message, style="yellow")
    if cluster.held_work is not None and cluster.held_work.keys:
        held = cluster.held_work
        words = f"{held.keys} keys, {amounts.size(held.bytes)}, lost clients: {held.clients}"
        yield "lost work", Cell(words, f"{words} (see: daskctl lost {cluster.name})")


def dashboard_facts(link: DashboardLink, now: datetime) -> Iterator[tuple[str, Cell]]:
    """Where a dashboard is, and until when that link can be opened."""
    yield "link", Cell(link.link, style="bold")
    yield "good until", when_due(link.expire_time, now)


def _scheduler_facts(cluster: Cluster, now: datetime) -> Iterator[tuple[str, Cell]]:
    scheduler = cluster.scheduler
    if scheduler is None or not scheduler.address:
        return
    yield "scheduler", Cell(scheduler.address)
    yield "dashboard", _dashboard(cluster, scheduler)
    yield "process", Cell(f"{scheduler.pid} on {scheduler.host}" if scheduler.pid else "")
    yield "restarts", Cell(str(scheduler.restarts) if scheduler.restarts else "", style="yellow")
    yield "resumable", _resumable(scheduler)
    yield "last heard", when_past(scheduler.last_heard_time, now)
    yield "versions", Cell(", ".join(f"{name} {version}" for name, version in sorted(scheduler.versions.items())))


def _resumable(scheduler: SchedulerStatus) -> Cell:
    """Whether its work would survive the scheduler's death, or why not."""
    if scheduler.resumable:
        return Cell("yes")
    return Cell(f"no: {scheduler.not_resumable_reason}" if scheduler.not_resumable_reason else "", style="yellow")


def _dashboard(cluster: Cluster, scheduler: SchedulerStatus) -> Cell:
    """Where the dashboard is, or how to come to one that the daemon serves."""
    if scheduler.dashboard_link or cluster.spec is None or not cluster.spec.dashboard:
        return Cell(scheduler.dashboard_link)
    return Cell("behind a login", f"behind a login (see: daskctl dashboard {cluster.name})")


def _group(group: WorkerGroupStatus) -> Cell:
    counts = f"{group.running}/{group.desired} workers"
    others = ((group.pending, "on their way"), (group.ending, "ending"), (group.failures, "failed launches in a row"))
    parts = [counts, *(f"{count} {words}" for count, words in others if count)]
    threads = f"{group.nthreads} thread{'' if group.nthreads == 1 else 's'}"
    parts.append(f"{threads} and {_memory(group)} each, driver {group.driver}")
    if group.removing:
        parts.append("being removed")
    words = ", ".join(parts)
    return Cell(f"{words}: {group.message}" if group.message else words)


def _memory(group: WorkerGroupStatus) -> str:
    return amounts.size(group.memory_limit_bytes) if group.memory_limit_bytes else "no memory limit"


def _adaptive_facts(group: WorkerGroupStatus, now: datetime) -> Iterator[tuple[str, Cell]]:
    status = group.adaptive
    if status is None:
        return
    yield "adaptive", Cell(f"{bounds(group)} workers, wants {status.target}")
    reason = status.reason
    if reason and status.decision_time is not None:
        decided = status.decision_time
        yield "decision", Cell(f"{reason} ({moments.absolute(decided)})", f"{reason} ({moments.ago(decided, now)})")
