"""Pure: a long-lived cluster over short jobs. Whose time is nearly over, and when it hands over to its successor.

Who is marked (`Instance.rotating`) counts no more for what is desired, so that as many are launched beside it, one for
each; once these have joined, or there is no more time, it retires. The mark is in the record and stays: a lead that
shrinks makes no successor a surplus, and a restarted daemon goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from daskd.model.adaptive import WorkerRow
from daskd.model.cluster import Instance, Role, State

from .adaptive import notice
from .candidates import rows_by_node
from .ledger import Ledger
from .view import View

BANDWIDTH = 100e6
"""Bytes a second at which data is taken to move."""

SPARE = 60.0
"""Seconds that a successor should be there before it must be."""

JITTER = 0.2
"""Share of the lead by which those differ that began together, as the elements of an array do."""

TOGETHER = 30.0
"""Seconds within which ends are one: data of one must not move to the next to end."""

MOST_DRAIN = 86_400.0
"""Seconds for which a node that hands over may finish what runs, however much time it has left."""

MOVED = 30.0
"""An expected end is recorded anew when it moves by more than so many seconds."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Who retires now, in one call. `is_late`: not all of their successors have joined."""

    ids: tuple[str, ...]
    is_late: bool


def expected_end(known: float | None, seen: float | None) -> float | None:
    """What is to be recorded, given what is and what a listing says: it knows remaining minutes, and rounds them."""
    if known is not None and (seen is None or abs(seen - known) <= MOVED):
        return known
    return seen


def lead(node: Instance, start_times: Sequence[float], rows: Sequence[WorkerRow]) -> tuple[float, bool]:
    """Seconds before its end for which a node's successor is asked, and whether its walltime is too short for it.

    Parameters
    ----------
    start_times
        Seconds from launch to joined of the group's last nodes.
    rows
        Its workers.
    """
    least = _p90(start_times) + sum(row.nbytes for row in rows) / BANDWIDTH
    usual = least + max(SPARE, notice(rows, BANDWIDTH))
    half = _walltime(node) / 2
    share = JITTER * _share_of(node.id)
    ahead = min(usual * (1 + share), half * (1 - share))
    return ahead, least + _notice(node, rows) > ahead


def mark(ledger: Ledger, view: View, now: float) -> None:
    """Mark the nodes of groups of a fixed count that are to be succeeded; of others the adaptive policy decides."""
    ending = [node for node in ledger.instances if _has_an_end(node)]
    if ledger.cluster.stop or not ending:
        return
    rows = rows_by_node(view)
    for group in ledger.cluster.groups:
        if group.adaptive is not None or group.removing:
            continue
        hurried: list[tuple[Instance, float]] = []
        for node in (node for node in ending if node.group == group.name):
            ahead, is_short = lead(node, group.start_times, rows.get(node.id, ()))
            if _end(node) - now <= ahead:
                ledger.edit_instance(node.id, rotating=now)
                hurried += [(node, ahead)] if is_short else []
        if hurried:
            _tell_short(ledger, hurried, _p90(group.start_times))


def _has_an_end(node: Instance) -> bool:
    return (
        node.role is Role.NODE
        and node.expected_end is not None
        and node.state is not State.ENDED
        and node.joined is not None
        and node.rotating is None
        and node.retiring is None
        and node.stopping is None
    )


def _tell_short(ledger: Ledger, hurried: Sequence[tuple[Instance, float]], starts: float) -> None:
    node, ahead = hurried[0]
    words = (
        f"{_names([node for node, _ in hurried])}: a new one takes up to {starts:.0f} s to start, and the walltime of "
        f"{_walltime(node):.0f} s leaves it {ahead:.0f} s: ask for a longer walltime, else workers may be missing "
        "for a while at every change"
    )
    ledger.tell("WALLTIME_SHORT", words, group=node.group, count=len(hurried))


def handovers(
    nodes: Iterable[Instance], view: View, need: int, unwilling: Collection[str], now: float
) -> list[Handover]:
    """Who retires now, of those that are marked.

    Parameters
    ----------
    nodes
        The group's that are neither retiring nor asked to end.
    need
        How many of them there shall be.
    unwilling
        Those that refused to retire just now: they still work, and are not asked.
    """
    present = list(nodes)
    marked = sorted((node for node in present if node.rotating is not None), key=lambda node: (_end(node), node.id))
    if not marked:
        return []
    workers, rows = view.hub_workers, rows_by_node(view)
    # beyond what is desired, with all that has joined
    spare = len(marked) - need
    spare += sum(node.rotating is None and all(name in workers for name in node.workers) for node in present)
    found = []
    for batch in _together(marked):
        is_late = any(now >= _end(node) - _notice(node, rows.get(node.id, ())) for node in batch)
        asked = tuple(node.id for node in batch if node.id not in unwilling)
        if asked and (spare >= len(batch) or is_late):
            found.append(Handover(asked, is_late=spare < len(batch)))
        spare -= len(batch)
    return found


def drain_bound(nodes: Iterable[Instance], usual: float, now: float) -> float:
    """Seconds for which nodes that retire together may finish what runs.

    At most half of the time that is left, for then their data moves; those that hand over may take all of that.

    Parameters
    ----------
    usual
        The bound of nodes that retire for another reason.
    """
    bounds = []
    for node in nodes:
        half = math.inf if node.expected_end is None else max(1.0, (node.expected_end - now) / 2)
        is_handing_over = node.rotating is not None and node.expected_end is not None
        bounds.append(min(MOST_DRAIN if is_handing_over else usual, half))
    return min(bounds, default=usual)


def late_words(nodes: Sequence[Instance], now: float) -> str:
    """What is told when there is no more time to wait for successors."""
    left = max(0.0, min(_end(node) for node in nodes) - now)
    end = "ends" if len(nodes) == 1 else "end"
    return (
        f"{_names(nodes)} {end} in {left:.0f} s and a successor has not joined yet: retired now, so that the others "
        "take over what can be moved"
    )


def facts(nodes: Sequence[Instance]) -> dict[str, str]:
    """What an event about them carries."""
    return {"instances": " ".join(node.id for node in nodes)[:1000], "count": str(len(nodes))}


def _together(nodes: Sequence[Instance]) -> list[list[Instance]]:
    """In order of their ends, those that end together in one list."""
    batches: list[list[Instance]] = []
    for node in nodes:
        if batches and _end(node) - _end(batches[-1][0]) <= TOGETHER:
            batches[-1].append(node)
        else:
            batches.append([node])
    return batches


def _notice(node: Instance, rows: Sequence[WorkerRow]) -> float:
    return min(notice(rows, BANDWIDTH), _walltime(node) / 4)


def _end(node: Instance) -> float:
    return math.inf if node.expected_end is None else node.expected_end


def _walltime(node: Instance) -> float:
    """Seconds that it may live in all; what it took to be launched is none of them."""
    begun = node.started or node.launched or node.created
    return math.inf if node.expected_end is None else max(0.0, node.expected_end - begun)


def _p90(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.9 * len(times)) - 1] if times else 0.0


def _share_of(key: str) -> float:
    """Between 0 and 1, of the id alone: a restarted daemon reckons the same."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") / 0xFFFFFFFF


def _names(nodes: Sequence[Instance]) -> str:
    names = [name for node in nodes for name in node.workers]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
