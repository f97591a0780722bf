"""SQLite's failures as users can mend them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daskd.model.errors import StateUnusable

RESTORE = (
    "stop daskd, move {path}, {path}-wal and {path}-shm away, put a backup in the place of {path}, "
    "and start daskd again"
)

# By SQLite's words: Python 3.10 does not tell its codes.
_MENDS = (
    ("disk is full", "its disk is full; nothing of this was written. Make room there, then try again"),
    ("readonly", "it can't be written. Make the file and its directory writable for daskd's user, then try again"),
    ("disk I/O error", "its disk failed. Look for free space, quotas and the kernel's log, then restart daskd"),
    ("malformed", "it is damaged: " + RESTORE),
    ("not a database", "it is no SQLite database: " + RESTORE),
    ("encrypted", "it is no SQLite database: " + RESTORE),
    ("locked", "another program holds it locked. End that program (`fuser {path}` names it), then try again"),
    ("unable to open", "it can't be opened. Check that daskd's user may write {path} and its directory"),
)
_OTHERWISE = "SQLite says what is wrong. Restart daskd; if that does not help, " + RESTORE


def unusable(error: sqlite3.Error, path: Path) -> StateUnusable:
    """The error for users: which file, what is wrong with it, what to do."""
    said = str(error)
    mend = next((mend for words, mend in _MENDS if words in said), _OTHERWISE)
    return StateUnusable(
        f"the state {path} can't be used ({said}): {mend.format(path=path)}",
        facts={"path": str(path), "sqlite": said},
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what SQLite raises about the file at `path` as `StateUnusable`.

    A violated constraint or a misused interface stays what it is: it is no state of the disk but a mistake here.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise unusable(error, path) from error
