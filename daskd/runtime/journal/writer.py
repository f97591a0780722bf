"""Writes a journal from a thread of its own, so that the scheduler's loop never waits for a disk.

What is handed over is written at once, as much as has come together, in one call; so a scheduler that is killed loses
what it handed over in the last milliseconds. A second thread has the disk keep it, ten times a second at most, which
bounds what a machine that fails may lose.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from . import reader
from .compaction import compacted
from .framing import FILE_MAGIC, Buffer, frame
from .records import Header, Key, Record, Stamp, encode

logger = logging.getLogger("daskd.journal")

SYNC_SECONDS = 0.1
_AT_ONCE = 512  # buffers in one call; the kernel takes 1024


class Writer:
    """Appends records to a journal.

    Parameters
    ----------
    path : Path
        The file, of mode 0600.
    failed : callable
        Called once, from another thread, with words, when nothing can be written any more.
    """

    def __init__(self, path: Path, failed: Callable[[str], None]) -> None:
        self._path = path
        self._failed = failed
        self._queue: list[Record | Callable[[], None]] = []
        self._turn = threading.Condition()
        self._dirty = threading.Event()
        self._closing = False
        self._broken = False
        self._done = 0  # records taken off the queue and written
        self._put = 0
        self._file = -1
        self.size = 0
        """Bytes in the file; read from any thread."""
        self._threads = [
            threading.Thread(target=self._write, name="daskd-journal", daemon=True),
            threading.Thread(target=self._sync, name="daskd-journal-sync", daemon=True),
        ]

    def begin(self, header: Header, records: Collection[Record] = ()) -> None:
        """Write a new file in place of an old one, whole or not at all, and start.

        Raises
        ------
        OSError
            It can't be written.
        """
        self._replace(header, records)
        self._start()

    def go_on(self, end: int) -> None:
        """Append to the file that is there, of whose bytes the first ``end`` are good.

        Raises
        ------
        OSError
            It can't be opened or cut.
        """
        self._file = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)
        self.size = end
        self._start()

    def _start(self) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, record: Record) -> None:
        """Hand over a record; its buffers must not change any more."""
        self._hand_over(record)

    def compact(self, live: Mapping[Stamp, Collection[Key]], done: Callable[[], None]) -> None:
        """Leave out what no longer matters of all that was handed over so far; see :func:`compacted`.

        ``done`` is called from the writer's thread afterwards.
        """
        self._hand_over(lambda: self._compact(live, done))

    def _hand_over(self, item: Record | Callable[[], None]) -> None:
        with self._turn:
            if not (self._closing or self._broken):
                self._queue.append(item)
                self._put += 1
                self._turn.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed over is on disk; False: it took longer than ``timeout`` seconds."""
        with self._turn:
            wanted = self._put
            written = self._turn.wait_for(lambda: self._done >= wanted or self._broken, timeout)
        if written and not self._broken:
            os.fdatasync(self._file)
        return written and not self._broken

    def close(self, timeout: float = 10.0) -> None:
        """Write what was handed over, and stop."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        self._dirty.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)
        if self._file >= 0 and not any(thread.is_alive() for thread in self._threads):
            os.close(self._file)
            self._file = -1

    # -- the writer's thread -------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._queue or self._closing)
                batch, self._queue = self._queue, []
                if not batch:
                    return
            try:
                self._write_batch(batch)
            except Exception as error:  # pickling raises whatever a value does; the scheduler has to go on
                self._break(f"{type(error).__name__}: {error}")
                return
            with self._turn:
                self._done += len(batch)
                self._turn.notify_all()

    def _write_batch(self, batch: list[Record | Callable[[], None]]) -> None:
        buffers: list[Buffer] = []
        for item in batch:
            if callable(item):
                self._append(buffers)
                buffers = []
                item()
            else:
                buffers += frame(encode(item))
        self._append(buffers)

    def _append(self, buffers: list[Buffer]) -> None:
        for first in range(0, len(buffers), _AT_ONCE):
            part = [memoryview(buffer).cast("B") for buffer in buffers[first : first + _AT_ONCE] if len(buffer)]
            while part:
                written = os.writev(self._file, part)
                self.size += written
                while part and written >= len(part[0]):
                    written -= len(part.pop(0))
                if written:
                    part[0] = part[0][written:]
        if buffers:
            self._dirty.set()

    def _compact(self, live: Mapping[Stamp, Collection[Key]], done: Callable[[], None]) -> None:
        contents = reader.read(self._path)
        if contents.header is None or contents.trouble:
            raise ValueError(f"the journal can't be read again: {contents.trouble}")
        before = self.size
        self._replace(contents.header, list(compacted(contents.records, live)))
        logger.info("The journal was compacted from %d to %d bytes", before, self.size)
        done()

    def _replace(self, header: Header, records: Collection[Record]) -> None:
        partial = self._path.with_name(f".{self._path.name}.new")
        partial.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        new = os.open(partial, flags, 0o600)
        with self._turn:
            old, self._file = self._file, new
        self.size = 0
        self._append([FILE_MAGIC])
        for record in (header, *records):
            self._append(frame(encode(record)))
        os.fsync(new)
        partial.replace(self._path)
        _sync_directory(self._path.parent)
        if old >= 0:
            os.close(old)

    def _break(self, words: str) -> None:
        logger.error("The journal can't be written any more: %s", words)
        with self._turn:
            self._broken = True
            self._queue.clear()
            self._turn.notify_all()
        self._dirty.set()
        self._failed(words)

    # -- the syncing thread --------------------------------------------------------------------

    def _sync(self) -> None:
        pause = threading.Event()
        while not (self._closing or self._broken):
            self._dirty.wait()
            self._dirty.clear()
            with self._turn:
                copy = os.dup(self._file) if self._file >= 0 else -1  # compaction replaces the file
            if copy >= 0:
                try:
                    os.fdatasync(copy)
                except OSError as error:
                    logger.warning("The journal could not be synced: %s", error)
                finally:
                    os.close(copy)
            pause.wait(0 if self._closing else SYNC_SECONDS)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
