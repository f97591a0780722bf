"""Opening the database, and copying it."""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daskd.model.errors import InvalidArgument, StateUnusable
from daskd.model.names import new_state_id

from .directory import sync_directory
from .failures import RESTORE, explained
from .migrations import migrate, schema_of
from .transaction import transaction

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program that has the database locked (a backup tool, a curious sqlite3)."""

_LOG_BYTES = 16 << 20  # the log is cut back to this after a large transaction


@dataclass(frozen=True, slots=True)
class Meta:
    """What a database says of itself: the state's id, the secret that seals page tokens."""

    state_id: str
    page_key: bytes


def open_database(path: Path, machine_id: str) -> tuple[sqlite3.Connection, Meta]:
    """Open, check, and upgrade the database; make it if the file is empty. To be used in this thread alone.

    Nothing is written before all checks have passed.

    Raises
    ------
    StateUnusable
        When it is damaged, another machine's, a newer daskd's, some other program's, or can't be read or written.
    """
    with explained(path):
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            _check_whole(db, path)
            if schema_of(db, path):
                _check_machine(db, path, machine_id)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            migrate(db, path)
            return db, _meta(db, machine_id)
        except BaseException:
            db.close()
            raise


def check_database(path: Path, machine_id: str) -> None:
    """Check a database as `open_database` does, and write nothing; a daemon may be using it.

    Raises
    ------
    StateUnusable
        As `open_database`.
    """
    read_only = f"{path.absolute().as_uri()}?mode=ro"
    with explained(path), closing(sqlite3.connect(read_only, uri=True, timeout=BUSY_TIMEOUT)) as db:
        _check_whole(db, path)
        if schema_of(db, path):
            _check_machine(db, path, machine_id)


def _check_whole(db: sqlite3.Connection, path: Path) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StateUnusable(
            f"the state {path} is damaged ({found}): {RESTORE.format(path=path)}",
            facts={"path": str(path), "sqlite": str(found)},
        )


def _check_machine(db: sqlite3.Connection, path: Path, machine_id: str) -> None:
    row = db.execute("SELECT value FROM meta WHERE key = 'machine_id'").fetchone()
    if row is not None and row[0] != machine_id:
        raise StateUnusable(
            f"the state {path} is another machine's, whose processes can't be seen from here: name a directory of "
            "this machine's own with --state-dir",
            facts={"path": str(path)},
        )


def _meta(db: sqlite3.Connection, machine_id: str) -> Meta:
    fresh = {"machine_id": machine_id, "state_id": new_state_id(), "page_key": secrets.token_hex(32)}
    with transaction(db):
        db.executemany("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", fresh.items())
        values = dict(db.execute("SELECT key, value FROM meta"))
    return Meta(state_id=values["state_id"], page_key=bytes.fromhex(values["page_key"]))


def copy_database(source: Path, target: Path) -> None:
    """Copy a database in use to a file of mode 0600, consistently; the file appears whole or not at all.

    On a connection of its own: readers of a write-ahead log hold up no writer.

    Raises
    ------
    InvalidArgument
        When there can't be a file at `target`, or it is the database itself.
    StateUnusable
        When the database can't be read, or the copy not be written.
    """
    if target.resolve() == source.resolve():
        raise InvalidArgument(f"{target} is the database itself: name another file for the backup")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InvalidArgument(
            f"no backup can be written to {target}: {error.strerror}. Name a file in a directory that daskd's user "
            "can write",
            facts={"path": str(target)},
        ) from error
    partial = Path(name)
    try:
        _copy(source, partial)
        os.fsync(descriptor)
        partial.replace(target)
    except OSError as error:
        raise InvalidArgument(f"no backup can be written to {target}: {error.strerror}") from error
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)
    sync_directory(target.parent)


def _copy(source: Path, target: Path) -> None:
    read_only = f"{source.absolute().as_uri()}?mode=ro"
    with (
        explained(target),
        closing(sqlite3.connect(read_only, uri=True, timeout=BUSY_TIMEOUT)) as origin,
        closing(sqlite3.connect(target, timeout=BUSY_TIMEOUT)) as copy,
    ):
        origin.backup(copy)
