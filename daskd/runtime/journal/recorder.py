"""The scheduler's hand on its journal: called on its loop, never waits, keeps count of what still matters."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import reader
from .framing import Buffer
from .history import GIVEN_UP, Verdict, deaths, judge, named, suspects
from .reader import Contents
from .records import Aside, Ended, Graph, Header, Key, Noted, Record, Released, Scattered, Stamp, Started, Wanted
from .writer import Writer

logger = logging.getLogger("daskd.journal")

FILE = "journal"
MAX_BYTES = 1 << 30
_ROOM = 8 << 20  # grown by twice and this, it is worth to be compacted
_FLUSH_SECONDS = 10.0


class Recorder:
    """Keeps the journal of one scheduler.

    Parameters
    ----------
    directory : Path
        Of the cluster's; mode 0700, made if it is not there.
    max_bytes : int
        The size in bytes beyond which the journal is given up.
    tell : callable
        ``tell(type, words, **facts)``, told of what a user should know.
    versions : mapping
        This process's versions, by package.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, tell: Callable[..., None], versions: Mapping[str, str]
    ) -> None:
        self._path = directory / FILE
        self._max_bytes = max_bytes
        self._tell = tell
        self._versions = dict(versions)
        self._writer: Writer | None = None
        self._failure = ""
        self._count = 0
        self._base = 0  # bytes after the last compaction
        self._compacting = False
        self._touched: dict[Stamp, Collection[Key]] = {}
        self._notes: dict[tuple[str, Any], Any] = {}
        self.run = secrets.token_hex(8)
        self.number = 0
        self.deaths = 0
        self.given_up = ""
        """Why the cluster's work would not survive its scheduler, in words; empty: it would."""

    # -- begin and end -------------------------------------------------------------------------

    def open(self) -> tuple[Contents, Verdict]:
        """Read what the predecessor left and begin to write; blocks, but nothing is served yet.

        Returns
        -------
        tuple
            What it left, which is empty unless it is gone on with, and why it is not.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            contents = reader.read(self._path)
        except OSError as error:
            self._give_up(f"its journal can't be opened: {error}")
            return Contents(), Verdict(False, f"the journal can't be read: {error}")
        verdict = judge(contents, self._versions)
        self.number = contents.number + 1
        try:
            left = self._go_on(contents) if verdict.resumes else self._begin_anew(contents)
        except OSError as error:
            self._give_up(f"its journal can't be written: {error}")
            left = contents if verdict.resumes else Contents()
        return left, verdict

    def _go_on(self, contents: Contents) -> Contents:
        assert contents.header is not None
        for record in contents.records:
            if isinstance(record, Noted):
                self._note(record)
        self._writer = Writer(self._path, self._failed)
        started = Started(self.number, time.time())
        self.deaths = deaths(contents.records, started.time)
        aside = suspects(contents, started.time)
        more: list[Record] = [Aside(aside), started] if aside else [started]
        if contents.damaged:
            # what workers hold may be newer than what is left of the journal: another run, so that it does not count
            self.run = secrets.token_hex(8)
            self._writer.begin(Header(self.run, self._versions), [*contents.records, *more])
        else:
            self.run = contents.header.run
            self._writer.go_on(contents.end)
            for record in more:
                self._writer.put(record)
            # before the replay: should that be what kills, it counts
            self._writer.flush(_FLUSH_SECONDS)
        self._base = self._writer.size
        if aside:
            self._tell_aside([contents.graphs[stamp] for stamp in aside])
        return Contents(contents.header, (*contents.records, *more), contents.end, contents.trouble, contents.damaged)

    def _tell_aside(self, graphs: list[Graph]) -> None:
        words = f"the scheduler ended so often that the last {len(graphs)} graphs are set aside: {named(graphs)}"
        self._tell("set-aside", words, graphs=len(graphs), keys=sum(len(graph.keys) for graph in graphs))

    def _begin_anew(self, contents: Contents) -> Contents:
        if contents.trouble or contents.header is not None:
            with suppress(FileNotFoundError):
                self._path.replace(self._path.with_name(f"{FILE}.refused"))
        self._writer = Writer(self._path, self._failed)
        self._writer.begin(Header(self.run, self._versions), [Started(self.number, time.time())])
        self._base = self._writer.size
        return Contents()

    def close(self, *, asked: bool) -> None:
        """Write all that was handed over; ``asked``: the scheduler ends because it was told to."""
        if self._writer is not None:
            if asked:
                self._writer.put(Ended(time.time()))
            self._writer.flush(_FLUSH_SECONDS)
            self._writer.close()
            self._writer = None

    # -- what happens --------------------------------------------------------------------------

    @property
    def stamp(self) -> Stamp:
        """The stamp of the last graph."""
        return (self.number, self._count)

    def _next(self) -> Stamp:
        self._count += 1
        return self.stamp

    def graph(
        self,
        client: str,
        keys: Collection[Key],
        touched: Collection[Key],
        arguments: Mapping[str, Any],
        frames: tuple[Buffer, ...],
    ) -> None:
        """A graph was submitted, of whose tasks ``touched`` are the keys."""
        stamp = self._next()
        self._touched[stamp] = touched
        self._put(Graph(stamp, client, tuple(keys), arguments, frames))

    def scattered(self, sizes: Mapping[Key, int]) -> None:
        """Data came that no task makes."""
        stamp = self._next()
        self._touched[stamp] = tuple(sizes)
        self._put(Scattered(stamp, dict(sizes)))

    def wanted(self, client: str, keys: Collection[Key]) -> None:
        """A client came to want keys."""
        self._put(Wanted(client, tuple(keys)))

    def released(self, client: str, keys: Collection[Key]) -> None:
        """A client wants keys no more."""
        self._put(Released(client, tuple(keys)))

    def noted(self, kind: str, name: Any, value: Any) -> None:
        """What is registered under a name has another value; None: it is gone."""
        record = Noted(kind, name, value)
        self._note(record)
        self._put(record)

    def _note(self, record: Noted) -> None:
        if record.value is None:
            self._notes.pop((record.kind, record.name), None)
        else:
            self._notes[record.kind, record.name] = record.value

    def notes_of(self, kind: str) -> dict[Any, Any]:
        """Return what is registered of a kind, by name."""
        return {name: value for (each, name), value in self._notes.items() if each == kind}

    def replayed(self, stamp: Stamp, touched: Collection[Key]) -> None:
        """A graph of the predecessor's was submitted again; it is in the journal already."""
        self._touched[stamp] = touched

    def _put(self, record: Record) -> None:
        if self._writer is not None and not self.given_up:
            self._writer.put(record)

    # -- its size ------------------------------------------------------------------------------

    def tick(self, tasks: Container[Key], *, idle: bool) -> None:
        """Compact the journal if that is due, give it up if it is too large; ``idle``: there is no task at all."""
        if self._failure and not self.given_up:
            self._give_up(f"its journal can't be written: {self._failure}")
        if self._writer is None or self._compacting or (self.given_up and not idle):
            return
        if self.given_up:
            self._take_up_again()
        elif self._writer.size > 2 * self._base + _ROOM or self._writer.size > self._max_bytes:
            self._compacting = True
            live = {stamp: keys for stamp, keys in self._touched.items() if any(key in tasks for key in keys)}
            self._touched = dict(live)
            self._writer.compact(live, self._compacted)

    def _compacted(self) -> None:
        """Called from the writer's thread."""
        assert self._writer is not None
        self._base = self._writer.size
        if self._base > self._max_bytes * 0.9:
            bound = f"{self._max_bytes / 2**20:.0f} MiB"
            self._failure = f"the graphs that are still needed take {self._base / 2**20:.0f} MiB, of {bound}"
        self._compacting = False

    def _failed(self, words: str) -> None:
        """Called from the writer's thread."""
        self._failure = words

    def _give_up(self, words: str) -> None:
        self.given_up = words
        self._tell("not-resumable", f"the cluster's work would not survive its scheduler: {words}")
        writer, self._writer = self._writer, Writer(self._path, self._failed)
        if writer is not None:
            writer.close(0.0)
        try:
            note = Noted(GIVEN_UP, GIVEN_UP, words)
            self._writer.begin(Header(self.run, self._versions), [Started(self.number, time.time()), note])
        except OSError as error:
            logger.error("That the journal is given up can't be written: %s", error)
            self._writer = None

    def _take_up_again(self) -> None:
        assert self._writer is not None
        self._writer.close(0.0)
        self._writer = Writer(self._path, self._failed)
        self._touched.clear()
        self._failure = ""
        notes = [Noted(kind, name, value) for (kind, name), value in self._notes.items()]
        try:
            self._writer.begin(Header(self.run, self._versions), [Started(self.number, time.time()), *notes])
        except OSError as error:
            logger.error("The journal can't be begun again: %s", error)
            self._writer = None
            return
        self.given_up = ""
        self._base = self._writer.size
        self._tell("resumable", "the cluster's work would survive its scheduler again")
