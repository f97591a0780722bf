"""What its system ends before long: no supply any more, and gone while there is time to move what it holds."""

from __future__ import annotations

from collections.abc import Sequence

from daskd.model.adaptive import Instance, InstanceState, Policy, WorkerRow

LEAST_NOTICE, MOST_NOTICE = 30.0, 300.0
STARTS_AHEAD = 1.5
"""Start times before its end for which an instance still counts as supply."""


def notice(rows: Sequence[WorkerRow], bandwidth: float) -> float:
    """Seconds before its end at which an instance is drained at the latest: what runs ends, what is held moves."""
    longest = max((max(row.expected, row.elapsed) for row in rows), default=0.0)
    move = sum(row.unique for row in rows) / bandwidth
    return min(MOST_NOTICE, max(LEAST_NOTICE, 2 * longest + 2 * move))


def is_leaving(instance: Instance, rows: Sequence[WorkerRow], start: float, policy: Policy, now: float) -> bool:
    """Whether an instance ends before another could take its place with ease. Once it is, it stays so.

    Where starts take longer than instances live, half of its life still counts: else nothing ever would.

    Parameters
    ----------
    rows
        The scheduler's, of its workers.
    start
        Seconds that a start takes in its group.
    """
    if instance.rotating:
        return True
    if instance.expected_end is None or instance.state is not InstanceState.RUNNING:
        return False
    window = STARTS_AHEAD * start + notice(rows, policy.bandwidth) + policy.interval
    begun = instance.launched if instance.started is None else instance.started
    return instance.expected_end - now <= min(window, (instance.expected_end - begun) / 2)
