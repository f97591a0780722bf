"""How events look."""

from __future__ import annotations

from rich.text import Text

from daskd_client.types import Event

from . import moments
from .table import Cell, Column, Line, fields, printable, when_past

ROW: tuple[Column[Event], ...] = (
    Column("TIME", lambda event, now: when_past(event.time, now)),
    Column("TYPE", lambda event, _now: Cell(event.type, style="bold")),
    Column("BY", lambda event, _now: Cell(event.actor)),
    Column("MESSAGE", lambda event, _now: Cell(event.message), wraps=True),
)
"""One event a line."""


def for_pipe(event: Event) -> str:
    """The same fields as in the table."""
    time = moments.absolute(event.time) if event.time else ""
    return fields((time, event.type, event.actor, event.message))


def for_terminal(event: Event) -> Text:
    """Local time of day, type, and words."""
    line = Text()
    if event.time:
        line.append(moments.time_of_day(event.time) + " ", "dim")
    line.append(printable(event.type), "bold")
    return line.append(printable(f" {event.message} (by {event.actor})"))


LINE = Line(for_pipe, for_terminal)
"""One event, as it happens."""
