"""The questions, as SQL. Each runs in the store's thread, on the store's only connection."""

from __future__ import annotations

import sqlite3

from daskd.model.cluster import Cluster, Instance
from daskd.model.errors import InvalidArgument, ResumeTokenExpired
from daskd.model.event import Change, Event

from .interface import MOST_ROWS, ClusterQuery, Page
from .paging import page_position, page_token
from .rows import decode_change, decode_cluster, decode_event, decode_instance

_MOST_INTEGER = (1 << 63) - 1  # of SQLite
_MOST_SUBJECTS = 500  # of the 999 values that a statement may have
_CLUSTER = "SELECT uid, record, format FROM clusters"
_CHANGE = "SELECT revision, cluster, time, event, format FROM changes"


def newest_revision(db: sqlite3.Connection) -> int:
    """The newest revision ever made, kept or pruned; 0 before the first."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return int(row[0]) if row else 0


def get(db: sqlite3.Connection, uid: str) -> Cluster | None:
    """The cluster of that uid."""
    row = db.execute(f"{_CLUSTER} WHERE uid = ?", (uid,)).fetchone()
    return decode_cluster(row) if row else None


def find(db: sqlite3.Connection, owner: str, name: str) -> Cluster | None:
    """The owner's live cluster of that name."""
    row = db.execute(f"{_CLUSTER} WHERE owner = ? AND name = ? AND ended IS NULL", (owner, name)).fetchone()
    return decode_cluster(row) if row else None


def find_all(db: sqlite3.Connection, name: str) -> list[Cluster]:
    """The live clusters of that name, oldest first."""
    rows = db.execute(f"{_CLUSTER} WHERE name = ? AND ended IS NULL ORDER BY seq", (name,))
    return [decode_cluster(row) for row in rows]


def requested(db: sqlite3.Connection, owner: str, request_id: str) -> Cluster | None:
    """The cluster that this request of the owner's made."""
    row = db.execute(f"{_CLUSTER} WHERE owner = ? AND request_id = ?", (owner, request_id)).fetchone()
    return decode_cluster(row) if row else None


def live(db: sqlite3.Connection) -> list[Cluster]:
    """The clusters that have not ended, oldest first."""
    return [decode_cluster(row) for row in db.execute(f"{_CLUSTER} WHERE ended IS NULL ORDER BY seq")]


def count_live(db: sqlite3.Connection, owner: str | None) -> int:
    """How many clusters have not ended."""
    if owner is None:
        row = db.execute("SELECT count(*) FROM clusters WHERE ended IS NULL").fetchone()
    else:
        row = db.execute("SELECT count(*) FROM clusters WHERE ended IS NULL AND owner = ?", (owner,)).fetchone()
    return int(row[0])


def list_page(db: sqlite3.Connection, query: ClusterQuery, page_key: bytes) -> Page[Cluster]:
    """A page of the clusters that the query asks for, newest first.

    Raises
    ------
    InvalidArgument
        When limit or token is wrong.
    """
    limit = _limit(query.limit)
    where, values = _conditions(query, page_position(page_key, query))
    # where: put together of this file's own words
    statement = f"SELECT seq, uid, record, format FROM clusters WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608
    rows = db.execute(statement, (*values, limit + 1)).fetchall()
    items = tuple(decode_cluster(row[1:]) for row in rows[:limit])
    return Page(items, page_token(page_key, rows[limit - 1][0], query) if len(rows) > limit else "")


def _conditions(query: ClusterQuery, position: int | None) -> tuple[str, list[str | int]]:
    conditions = ["seq < ?"]
    values: list[str | int] = [_MOST_INTEGER if position is None else position]
    if query.owner is not None:
        subjects = sorted(query.shared_with)[:_MOST_SUBJECTS]
        marks = ", ".join("?" * len(subjects))
        shared = f"SELECT cluster FROM grants WHERE subject IN ({marks})"  # noqa: S608 - question marks alone
        conditions.append(f"(owner = ? OR uid IN ({shared}))")
        values.extend((query.owner, *subjects))
    if query.phases:
        conditions.append(f"phase IN ({', '.join('?' * len(query.phases))})")
        values.extend(sorted(phase.value for phase in query.phases))
    if query.name_prefix:
        conditions.append("substr(name, 1, length(?)) = ?")  # not LIKE: a prefix may hold % and _
        values.extend((query.name_prefix, query.name_prefix))
    if not query.include_ended:
        conditions.append("ended IS NULL")
    return " AND ".join(conditions), values


def instances(db: sqlite3.Connection, uid: str, include_ended: bool) -> list[Instance]:
    """A cluster's instances by ordinal."""
    rows = db.execute(
        "SELECT id, record, format FROM instances WHERE cluster = ? AND (ended IS NULL OR ?) ORDER BY ordinal, id",
        (uid, include_ended),
    )
    return [decode_instance(row) for row in rows]


def events(db: sqlite3.Connection, uid: str, after: int, limit: int) -> list[Event]:
    """A cluster's events after that revision, oldest first.

    Raises
    ------
    InvalidArgument
        When the limit is wrong.
    """
    most = _limit(limit)
    if after >= newest_revision(db):
        return []
    rows = db.execute(
        f"{_CHANGE} WHERE cluster = ? AND revision > ? AND event IS NOT NULL ORDER BY revision LIMIT ?",
        (uid, max(after, 0), most),
    )
    return [decode_event(row) for row in rows]


def forgotten(db: sqlite3.Connection) -> int:
    """The newest revision whose change is not kept any more; 0: all are."""
    row = db.execute("SELECT value FROM meta WHERE key = 'forgotten'").fetchone()
    return int(row[0]) if row else 0


def changes(db: sqlite3.Connection, after: int, limit: int) -> list[Change]:
    """The changes after that revision, in order.

    Raises
    ------
    InvalidArgument
        When the limit is wrong.
    ResumeTokenExpired
        When some that followed it are gone, or it has not been reached.
    """
    most = _limit(limit)
    oldest, newest = forgotten(db), newest_revision(db)
    if not oldest <= after <= newest:
        raise ResumeTokenExpired(
            f"the changes after revision {after} can't be told: kept are those after {oldest}, up to {newest}. "
            "List anew and watch from there",
            facts={"revision": str(after), "oldest": str(oldest), "newest": str(newest)},
        )
    rows = db.execute(f"{_CHANGE} WHERE revision > ? ORDER BY revision LIMIT ?", (after, most))
    return [decode_change(row) for row in rows]


def _limit(limit: int) -> int:
    if limit < 1:
        raise InvalidArgument(f"the limit is {limit}: ask for at least 1")
    return min(limit, MOST_ROWS)
