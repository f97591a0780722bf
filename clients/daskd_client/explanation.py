"""Why a cluster is as it is, as the daemon says it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .types import Cluster, WorkerState


@dataclass(frozen=True)
class WaitingInstances:
    """Instances that wait for the same: how many workers are in them, since when the longest has waited, for what."""

    instances: int = 0
    workers: int = 0
    state: WorkerState = WorkerState.UNSPECIFIED
    reason: str = ""
    since_time: datetime | None = None


@dataclass(frozen=True)
class GroupExplanation:
    """Why a group is as it is.

    Attributes
    ----------
    target
        Workers that it aims at.
    decided_by
        Who decides that: "count" (somebody scaled it), "adaptive", "removing".
    reasons
        Why, a sentence each, the most telling first.
    ready_tasks
        Ready tasks that its workers could run.
    waiting
        What is on its way in or out.
    """

    name: str = ""
    target: int = 0
    decided_by: str = ""
    reasons: tuple[str, ...] = ()
    ready_tasks: int = 0
    waiting: tuple[WaitingInstances, ...] = ()


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a cluster is as it is; printed, it reads as text.

    Attributes
    ----------
    reasons
        Why the cluster as a whole is as it is, a sentence each.
    groups
        The same for each group.
    """

    cluster: Cluster | None = None
    reasons: tuple[str, ...] = ()
    groups: tuple[GroupExplanation, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(_lines(self))


def _lines(explanation: Explanation) -> Iterator[str]:
    cluster = explanation.cluster
    if cluster is not None:
        yield f"Cluster {cluster.name}, {cluster.phase.value}"
    yield from (f"  {reason}" for reason in explanation.reasons)
    for group in explanation.groups:
        yield f"Group {group.name}, {aim(group)}"
        yield from (f"  {reason}" for reason in group.reasons)
        yield from (f"  {_since(item)}" for item in group.waiting)


def aim(group: GroupExplanation) -> str:
    """What a group aims at and who says so: "4 workers wanted (adaptive), 12 ready tasks"."""
    return f"{group.target} workers wanted ({group.decided_by}), {group.ready_tasks} ready tasks"


def _since(item: WaitingInstances) -> str:
    since = f" since {item.since_time.astimezone():%H:%M:%S}" if item.since_time is not None else ""
    return f"{item.workers} workers {item.state.value}{since}: {item.reason}"
