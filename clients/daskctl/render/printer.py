"""Where output goes: results to stdout in the format asked for, words for people to stderr."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TextIO

import yaml
from rich.console import Console
from rich.text import Text

from . import table
from .document import document
from .table import Cell, Column, Line, Row


class Format(str, enum.Enum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Printer:
    """Prints what a command found.

    Attributes
    ----------
    format
        Tables, or documents for programs.
    out, err
        The streams; each is asked on its own whether it is a terminal.
    now
        The clock that relative times are told by.
    """

    format: Format = Format.TABLE
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    now: Callable[[], datetime] = _utc_now

    def rows(self, key: str, rows: Sequence[Row], columns: Sequence[Column[Row]], *, nothing: str) -> None:
        """Print a list: as ``{key: [...]}``, or as a table; `nothing` tells a person that there is none."""
        if self.format is not Format.TABLE:
            self.document({key: [document(row) for row in rows]})
        elif not rows:
            self.say(nothing)
        elif self.out.isatty():
            table.print_for_terminal(rows, columns, self.now(), self._console())
        else:
            self.lines(table.for_pipe(rows, columns, self.now()))

    def row(self, row: Row, columns: Sequence[Column[Row]]) -> None:
        """Print one thing: as its document, or as a table of one row."""
        if self.format is not Format.TABLE:
            self.document(document(row))
        else:
            self.rows("", [row], columns, nothing="")

    def facts(self, thing: Any, facts: Callable[[datetime], Iterable[tuple[str, Cell]]]) -> None:
        """Print one thing at length: as its document, or as labelled facts."""
        if self.format is not Format.TABLE:
            self.document(document(thing))
        elif self.out.isatty():
            table.facts_for_terminal(facts(self.now()), self._console())
        else:
            self.lines(table.facts_for_pipe(facts(self.now())))

    def document(self, value: Mapping[str, Any]) -> None:
        """Print one document."""
        if self.format is Format.YAML:
            self.out.write(yaml.safe_dump(value, sort_keys=False))
        else:
            self.out.write(json.dumps(value, indent=2) + "\n")
        self.out.flush()

    async def stream(self, key: str, items: AsyncIterator[Row], line: Line[Row], *, endless: bool) -> None:
        """Print things as they come: a line each, or as one document ``{key: [...]}``.

        An `endless` stream has no end to wait for: there each thing is a document of its own, JSON's on a line.
        """
        if self.format is not Format.TABLE and not endless:
            self.document({key: [document(item) async for item in items]})
            return
        console = self._console() if self.out.isatty() else None
        async for item in items:
            if self.format is Format.YAML:
                self.out.write(yaml.safe_dump(document(item), sort_keys=False, explicit_start=True))
            elif self.format is Format.JSON:
                self.out.write(json.dumps(document(item)) + "\n")
            elif console is not None:
                console.print(line.terminal(item), soft_wrap=True)
            else:
                self.out.write(line.pipe(item) + "\n")
            if endless:
                self.out.flush()
        self.out.flush()

    def say(self, words: str) -> None:
        """Tell a person: on stderr, and only where that is a terminal."""
        if self.err.isatty():
            self.tell(words)

    def tell(self, words: str) -> None:
        """Tell whoever reads stderr, a person or a log."""
        self.err.write(table.printable(words) + "\n")
        self.err.flush()

    @contextmanager
    def progress(self, words: str) -> Iterator[Callable[[str], None]]:
        """A line that shows where a wait is, while it lasts: on a terminal's stderr only.

        Yields
        ------
        callable
            Call it with the words to show from now on.
        """
        if not self.err.isatty() or os.environ.get("TERM") == "dumb":
            yield lambda _words: None
            return
        with self._console(self.err).status(Text(words)) as status:
            yield lambda words: status.update(Text(table.printable(words)))

    def _console(self, stream: TextIO | None = None) -> Console:
        return Console(file=stream or self.out, highlight=False, emoji=False, markup=False)

    def lines(self, lines: Iterable[str]) -> None:
        """Print text as it is."""
        for line in lines:
            self.out.write(line + "\n")
        self.out.flush()
