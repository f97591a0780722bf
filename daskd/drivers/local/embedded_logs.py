"""What schedulers in this process log, in the files of their instances; `logging` has but one tree a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_OF_RUNTIME = ("daskd.held", "daskd.retire", "daskd.scheduler")
_OF_DASK = ("distributed", "bokeh", "tornado")


class LogFile(Protocol):
    """Takes what an instance writes."""

    def feed(self, data: bytes) -> None:
        """Take output as it comes."""


class InstanceLogs(logging.Handler):
    """Writes each record to the log of the instance whose thread made it, and keeps it out of the daemon's own.

    What Dask logs in other threads of this process goes where the daemon logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[int, LogFile] = {}
        self.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))

    def install(self) -> None:
        """Take over from the handlers that Dask made at its import. A repeat does nothing."""
        root = logging.getLogger()
        if self in root.handlers:
            return
        for handler in root.handlers:
            handler.addFilter(lambda record: record.thread not in self._files)
        root.addHandler(self)
        for name in _OF_RUNTIME:
            logging.getLogger(name).setLevel(logging.INFO)
        for name, logger in list(logging.root.manager.loggerDict.items()):
            if isinstance(logger, logging.Logger) and name.partition(".")[0] in _OF_DASK:
                logger.handlers.clear()
                logger.propagate = True

    @contextmanager
    def of_this_thread(self, file: LogFile) -> Iterator[None]:
        """Let all that this thread logs go to a file."""
        thread = threading.get_ident()
        self._files[thread] = file
        try:
            yield
        finally:
            del self._files[thread]

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; called by logging."""
        file = self._files.get(record.thread or 0)
        if file is not None:
            file.feed(self.format(record).encode("utf-8", "replace") + b"\n")
