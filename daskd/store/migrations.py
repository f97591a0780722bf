"""The database's schemas, from the first on. A schema that was released is never edited: a further one follows it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from daskd.crashpoints import reached
from daskd.model.errors import StateUnusable

from .transaction import transaction

# Nothing newer than SQLite 3.24: no STRICT, no RETURNING.
_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # seq: the order of creation, which the clock may not tell
    """CREATE TABLE clusters (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        phase TEXT NOT NULL,
        ended REAL,
        request_id TEXT,
        format INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (owner, request_id)
    )""",
    "CREATE UNIQUE INDEX clusters_live ON clusters (owner, name) WHERE ended IS NULL",
    "CREATE INDEX clusters_live_name ON clusters (name) WHERE ended IS NULL",
    "CREATE INDEX clusters_owner ON clusters (owner, seq)",
    # the live ones (ended IS NULL) in order, without reading past those that ended
    "CREATE INDEX clusters_owner_ended ON clusters (owner, ended, seq)",
    "CREATE INDEX clusters_ended ON clusters (ended, seq)",
    """CREATE TABLE instances (
        id TEXT PRIMARY KEY,
        cluster TEXT NOT NULL REFERENCES clusters (uid) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        ended REAL,
        format INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX instances_cluster ON instances (cluster, ordinal)",
    # AUTOINCREMENT: a revision is never used again, even when all rows are pruned
    """CREATE TABLE changes (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        cluster TEXT NOT NULL,
        time REAL NOT NULL,
        event TEXT,
        format INTEGER NOT NULL
    )""",
    "CREATE INDEX changes_cluster ON changes (cluster, revision)",
)

_SECOND = (
    # what a cluster's record says of whom it is shared with, to be searched by
    """CREATE TABLE grants (
        subject TEXT NOT NULL,
        cluster TEXT NOT NULL REFERENCES clusters (uid) ON DELETE CASCADE,
        PRIMARY KEY (subject, cluster)
    ) WITHOUT ROWID""",
    "CREATE INDEX grants_cluster ON grants (cluster)",
    # secret: the hash of the token's, which is nowhere itself
    """CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        secret TEXT NOT NULL UNIQUE,
        uid INTEGER NOT NULL,
        expires REAL NOT NULL,
        format INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX tokens_uid ON tokens (uid)",
    "CREATE INDEX tokens_expires ON tokens (expires)",
)

# records of format 2, which an older daskd can't read: it refuses the whole state, in words
_THIRD: tuple[str, ...] = ()

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD)
"""The statements that lead from schema N to N + 1, at place N."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The schema that this daskd writes."""


def schema_of(db: sqlite3.Connection, path: Path) -> int:
    """The schema of an open database; 0: it is empty.

    Raises
    ------
    StateUnusable
        When it is of a newer daskd, or not daskd's at all.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StateUnusable(
            f"the state {path} has schema {version}, and this daskd knows up to {SCHEMA_VERSION}: run the newer "
            "daskd that wrote it, or restore a backup made before the upgrade",
            facts={"path": str(path), "schema": str(version), "known": str(SCHEMA_VERSION)},
        )
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StateUnusable(
            f"{path} is some other program's database: name another directory with --state-dir",
            facts={"path": str(path)},
        )
    return version


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring an open database to `SCHEMA_VERSION`, a transaction a step, so that a crash leaves a schema that is whole.

    Raises
    ------
    StateUnusable
        When it is of a newer daskd, or not daskd's at all.
    """
    version = schema_of(db, path)
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        with transaction(db):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        reached("migration.step")
