"""How the work of lost clients looks."""

from __future__ import annotations

from daskd_client.types import HeldWork

from . import amounts
from .table import Cell, Column, when_due, when_past


def _states(work: HeldWork) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(work.states.items()))


ROW: tuple[Column[HeldWork], ...] = (
    Column("CLIENT", lambda work, _now: Cell(work.client, style="bold")),
    Column("LOST", lambda work, now: when_past(work.lost_time, now)),
    Column("LET GO", lambda work, now: when_due(work.expire_time, now)),
    Column("KEYS", lambda work, _now: Cell(str(work.keys)), right=True),
    Column("SIZE", lambda work, _now: Cell(str(work.bytes), amounts.size(work.bytes)), right=True),
    Column("STATES", lambda work, _now: Cell(_states(work))),
    Column("SOME KEYS", lambda work, _now: Cell(" ".join(work.sample_keys)), wraps=True),
)
"""One lost client a line."""
