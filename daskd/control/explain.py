"""Pure: why a cluster is as it is, in sentences, from its record, what was last heard and what was last decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from daskd.model import adaptive as words
from daskd.model.cluster import Cluster, Phase
from daskd.model.event import Event
from daskd.model.spec import OnIdle
from daskd.model.views import Explanation

from .adaptive import place
from .adaptive.reasons import seconds, size
from .explain_group import explain_group
from .policy import candidates
from .view import View

_PHASES = {
    Phase.PENDING: "nothing was started yet",
    Phase.STARTING: "its scheduler is being started",
    Phase.RUNNING: "it runs",
    Phase.STOPPING: "it is being ended",
    Phase.STOPPED: "it has ended",
    Phase.FAILED: "it failed",
}


@dataclass(frozen=True, slots=True)
class Known:
    """All that an explanation rests on.

    Attributes
    ----------
    groups
        The groups as the adaptive policy sees them.
    snapshot, snapshot_trouble
        The scheduler's facts, and why there are no newer ones; empty when nothing hinders them.
    decision
        What the adaptive policy decided last; None: nothing since the daemon started, or there is none.
    history
        The cluster's kept events, oldest first.
    """

    view: View
    groups: Sequence[words.Group] = ()
    snapshot: words.Snapshot | None = None
    snapshot_trouble: str = ""
    decision: words.Decision | None = None
    history: Sequence[Event] = ()


def explain(known: Known, now: float) -> Explanation:
    """Why a cluster is as it is.

    Parameters
    ----------
    now
        Unix seconds.
    """
    view, ready = known.view, _ready(known)
    return Explanation(
        reasons=tuple(_reasons(known, now)),
        groups=tuple(
            explain_group(view, status, known.decision, known.history, ready.get(status.name, 0), now)
            for status in view.cluster.groups
        ),
    )


def _ready(known: Known) -> dict[str, int]:
    """Ready tasks that each group's workers could run."""
    if known.snapshot is None:
        return {}
    served, _ = place(known.snapshot, known.groups, candidates(known.view, known.groups))
    return {group.name: sum(item.row.ready for item in served if group.name in item.groups) for group in known.groups}


def _reasons(known: Known, now: float) -> Iterator[str]:
    cluster = known.view.cluster
    yield _phase(cluster)
    if cluster.ended is not None or cluster.stop:
        return
    yield from _scheduler(known, now)
    yield from (tasks.words for tasks in cluster.unplaceable)
    yield from _lifetime(cluster, now)


def _phase(cluster: Cluster) -> str:
    # of a silent scheduler another sentence tells, of failing workers their group
    told = cluster.phase is Phase.RUNNING and cluster.reason in ("SCHEDULER_SILENT", "WORKERS_FAILING")
    message = "" if told else cluster.message
    return f"{_PHASES[cluster.phase]}: {message}" if message else _PHASES[cluster.phase]


def _scheduler(known: Known, now: float) -> Iterator[str]:
    scheduler, hub = known.view.cluster.scheduler, known.view.hub
    if scheduler.heard is not None:
        trouble = f" ({hub.trouble})" if hub.trouble else ""
        silent = seconds(max(0.0, now - scheduler.heard))
        yield f"its scheduler has not answered for {silent}{trouble}: until it does, nothing shrinks"
    elif known.snapshot_trouble:
        yield f"its scheduler does not say what its tasks need, so nothing is decided: {known.snapshot_trouble}"
    if scheduler.restarts:
        last = seconds(max(0.0, now - scheduler.restarts[-1]))
        yield f"its scheduler was started again after it died, {_times(len(scheduler.restarts))}, the last {last} ago"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _lifetime(cluster: Cluster, now: float) -> Iterator[str]:
    held, timeout = cluster.held, cluster.spec.idle_timeout
    if held.keys:
        kept = f"{held.keys:,} results or tasks ({size(held.bytes)}) of lost clients are kept"
        yield f"{kept}: while they are, it is not idle" if timeout else kept
    if timeout:
        yield _idle(cluster, timeout, now)
    if cluster.expires is not None:
        left = seconds(max(0.0, cluster.expires - now))
        yield f"it ends in {left}, whatever it does: its lifetime is {seconds(cluster.spec.max_lifetime or 0)}"


def _idle(cluster: Cluster, timeout: float, now: float) -> str:
    limit = f"its idle time-out is {seconds(timeout)}"
    if cluster.idle_since is None:
        return f"it is not idle: something is computed or waits; {limit}"
    since = max([cluster.idle_since, *_joins(cluster)])
    idle, left = seconds(max(0.0, now - since)), seconds(max(0.0, since + timeout - now))
    what = "its groups are scaled to no worker" if cluster.spec.on_idle is OnIdle.SCALE_TO_ZERO else "it ends"
    return f"it has been idle for {idle}: {what} in {left} unless something is computed; {limit}"


def _joins(cluster: Cluster) -> Iterable[float]:
    return (group.last_join for group in cluster.groups if group.last_join is not None)
