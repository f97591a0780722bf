"""Rows as a table: with header, colours and relative times on a terminal; tab-separated and absolute in a pipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from . import moments

Row = TypeVar("Row")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NOTHING = "-"
_NARROWEST = 24  # characters, of what may be broken into lines
_WIDEST = 10_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in both renderings: `pipe` for programs, `terminal` (the same if None) for people, in `style`."""

    pipe: str
    terminal: str | None = None
    style: str = ""

    def text(self) -> Text:
        """What a terminal shows; a dash for nothing."""
        words = self.pipe if self.terminal is None else self.terminal
        return Text(printable(words) or _NOTHING, style=self.style)


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column: its header, and how a row's cell is made, given the time that it is now.

    Attributes
    ----------
    right
        Numbers stand to the right, on a terminal.
    wraps
        May be broken into lines when the terminal is narrow.
    pipe_only
        Too wide, or of no use, to people.
    """

    header: str
    cell: Callable[[Row, datetime], Cell]
    right: bool = False
    wraps: bool = False
    pipe_only: bool = False


@dataclass(frozen=True, slots=True)
class Line(Generic[Row]):
    """How one thing of a stream is printed on a line, by itself: in a pipe, and on a terminal."""

    pipe: Callable[[Row], str]
    terminal: Callable[[Row], Text]


def printable(words: str) -> str:
    """The words on one line, without control characters: nothing in them can drive a terminal or split a field."""
    return _CONTROL.sub(" ", words)


def says_something(text: Text) -> bool:
    """Whether what a terminal shows of a cell is more than the dash for nothing."""
    return text.plain != _NOTHING


def when_past(moment: datetime | None, now: datetime) -> Cell:
    """A moment in the past."""
    return Cell(moments.absolute(moment), moments.ago(moment, now)) if moment else Cell("")


def when_due(moment: datetime | None, now: datetime) -> Cell:
    """A moment to come."""
    return Cell(moments.absolute(moment), moments.until(moment, now)) if moment else Cell("")


def print_for_terminal(rows: Sequence[Row], columns: Sequence[Column[Row]], now: datetime, console: Console) -> None:
    """Print a table for people: without the columns in which no row says anything, and with no name cut short.

    What is wider than the terminal is left to it to break, as names and addresses are there to be copied.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown: list[list[Text]] = []
    for column in columns:
        texts = [column.cell(row, now).text() for row in rows]
        if column.pipe_only or not any(map(says_something, texts)):
            continue
        width = max(text.cell_len for text in (Text(column.header), *texts))
        table.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=not column.wraps,
            overflow="fold",
            min_width=min(width, _NARROWEST) if column.wraps else width,
        )
        shown.append(texts)
    for cells in zip(*shown, strict=True):
        table.add_row(*cells)
    needed = Measurement.get(console, console.options.update(width=_WIDEST), table).minimum
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False)


def for_pipe(rows: Iterable[Row], columns: Sequence[Column[Row]], now: datetime) -> Iterable[str]:
    """Lines for programs: every column, in order, tab-separated; an empty field is an absent value."""
    for row in rows:
        yield fields(column.cell(row, now).pipe for column in columns)


def fields(values: Iterable[str]) -> str:
    """One tab-separated line."""
    return "\t".join(printable(value) for value in values)


def facts_for_terminal(facts: Iterable[tuple[str, Cell]], console: Console) -> None:
    """Print facts about one thing for people; what is absent is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, cell in facts:
        if cell.pipe:
            grid.add_row(label, cell.text())
    console.print(grid)


def facts_for_pipe(facts: Iterable[tuple[str, Cell]]) -> Iterable[str]:
    """Lines for programs: label, tab, value; what is absent is left out."""
    return (fields((label, cell.pipe)) for label, cell in facts if cell.pipe)
