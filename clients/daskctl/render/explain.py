"""How an explanation looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from daskd_client.explanation import Explanation, WaitingInstances, aim

from . import clusters, moments
from .table import Cell


def facts(explanation: Explanation, now: datetime) -> Iterator[tuple[str, Cell]]:
    """Why the cluster is as it is, then each of its groups."""
    if explanation.cluster is not None:
        yield "name", Cell(explanation.cluster.name, style="bold")
        yield "phase", clusters.phase(explanation.cluster)
    for reason in explanation.reasons:
        yield "why", Cell(reason)
    for group in explanation.groups:
        yield f"group {group.name}", Cell(aim(group), style="bold")
        for reason in group.reasons:
            yield "why", Cell(reason)
        for item in group.waiting:
            yield "waiting", _waiting(item, now)


def _waiting(item: WaitingInstances, now: datetime) -> Cell:
    head = f"{item.workers} workers {item.state.name}"
    if item.since_time is None:
        return Cell(f"{head}: {item.reason}")
    since = item.since_time
    return Cell(
        f"{head} since {moments.absolute(since)}: {item.reason}",
        f"{head} for {moments.span(now - since)}: {item.reason}",
    )
