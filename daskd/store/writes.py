"""What changes the state, as SQL. Each runs in the store's thread, within a transaction of its caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from daskd.model.cluster import Cluster, Instance
from daskd.model.errors import ClusterExists, ClusterNotFound, InvalidArgument
from daskd.model.event import NewEvent

from . import reads
from .interface import Events, PruneResult
from .rows import FORMAT, decode_cluster, encode_cluster, encode_event, encode_instance


def create(
    db: sqlite3.Connection, cluster: Cluster, request_id: str, named: bool, event: NewEvent, now: float
) -> tuple[Cluster, bool]:
    """Insert a cluster with its event, unless this request made one before; see `Store.create`."""
    if request_id and (earlier := reads.requested(db, cluster.owner, request_id)):
        if named and earlier.name != cluster.name:
            raise InvalidArgument(
                f"the request id {request_id!r} made the cluster {earlier.name!r} before, and now asks for "
                f"{cluster.name!r}: use a new request id for a new cluster",
                facts={"request_id": request_id, "name": earlier.name, "uid": earlier.uid},
            )
        return earlier, False
    _refuse_namesake(db, cluster)
    revision = _append_changes(db, cluster, (event,), now)
    text = encode_cluster(replace(cluster, revision=revision, updated=now))
    db.execute(
        "INSERT INTO clusters (uid, owner, name, phase, ended, request_id, format, record) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            cluster.uid,
            cluster.owner,
            cluster.name,
            cluster.phase.value,
            cluster.ended,
            request_id or None,
            FORMAT,
            text,
        ),
    )
    return decode_cluster((cluster.uid, text, FORMAT)), True


def _refuse_namesake(db: sqlite3.Connection, cluster: Cluster) -> None:
    other = reads.find(db, cluster.owner, cluster.name)
    if other is not None and other.uid != cluster.uid:
        raise ClusterExists(
            f"there is a cluster {cluster.name!r} already: attach to it, delete it, or choose another name",
            facts={"name": cluster.name, "uid": other.uid},
        )


def note(db: sqlite3.Connection, event: NewEvent, now: float) -> None:
    """Append an event of no cluster; see `Store.note`."""
    text = encode_event("", "", event)
    db.execute("INSERT INTO changes (cluster, time, event, format) VALUES ('', ?, ?, ?)", (now, text, FORMAT))


def _append_changes(db: sqlite3.Connection, cluster: Cluster, events: Sequence[NewEvent], now: float) -> int:
    """Number what happened to the cluster, an event each, or one change that no event tells. The newest revision."""
    revision = 0
    texts: list[str | None] = [encode_event(cluster.name, cluster.owner, event) for event in events]
    for text in texts or [None]:
        cursor = db.execute(
            "INSERT INTO changes (cluster, time, event, format) VALUES (?, ?, ?, ?)", (cluster.uid, now, text, FORMAT)
        )
        revision = cursor.lastrowid or 0
    return revision


def update(
    db: sqlite3.Connection,
    uid: str,
    change: Callable[[Cluster], Cluster],
    instances: Sequence[Instance],
    forget: Sequence[str],
    events: Events,
    now: float,
) -> Cluster:
    """Change a cluster, its instances and its history; see `Store.update`."""
    current = reads.get(db, uid)
    if current is None:
        raise ClusterNotFound(f"there is no cluster {uid!r} (any more)", facts={"uid": uid})
    changed = replace(change(current), revision=current.revision, updated=current.updated)
    _check_identity(current, changed)
    new_events = events(current, changed) if callable(events) else events
    # Compared as written: a tuple where JSON reads back a list is no change.
    differs = encode_cluster(changed) != encode_cluster(current)
    _put_grants(db, current, changed)
    differs |= _put_instances(db, uid, instances)
    differs |= _delete_instances(db, uid, forget)
    if not differs and not new_events:
        return current
    revision = _append_changes(db, changed, new_events, now)
    return _put_cluster(db, replace(changed, revision=revision, updated=now))


def _put_grants(db: sqlite3.Connection, current: Cluster, changed: Cluster) -> None:
    """Keep the index of who a cluster is shared with equal to its record."""
    before, after = ({grant.subject for grant in cluster.grants} for cluster in (current, changed))
    for subject in before - after:
        db.execute("DELETE FROM grants WHERE subject = ? AND cluster = ?", (subject, changed.uid))
    for subject in after - before:
        db.execute("INSERT INTO grants (subject, cluster) VALUES (?, ?)", (subject, changed.uid))


def _check_identity(current: Cluster, changed: Cluster) -> None:
    for name in ("uid", "name", "owner", "owner_uid", "created"):
        if getattr(current, name) != getattr(changed, name):
            raise ValueError(f"an update of cluster {current.uid} would change its {name}, which is for ever")


def _put_cluster(db: sqlite3.Connection, cluster: Cluster) -> Cluster:
    if cluster.ended is None:  # one that ended may be made live again, unless its name was taken meanwhile
        _refuse_namesake(db, cluster)
    text = encode_cluster(cluster)
    db.execute(
        "UPDATE clusters SET phase = ?, ended = ?, format = ?, record = ? WHERE uid = ?",
        (cluster.phase.value, cluster.ended, FORMAT, text, cluster.uid),
    )
    return decode_cluster((cluster.uid, text, FORMAT))


def _put_instances(db: sqlite3.Connection, uid: str, instances: Iterable[Instance]) -> bool:
    """Record the instances that differ from what is recorded; whether any did."""
    differs = False
    for instance in instances:
        text = encode_instance(instance)
        row = db.execute("SELECT cluster, record FROM instances WHERE id = ?", (instance.id,)).fetchone()
        if instance.cluster != uid or (row and row[0] != uid):
            raise ValueError(f"instance {instance.id} is not of cluster {uid}, whose update would record it")
        if row and row[1] == text:
            continue
        db.execute(
            "INSERT INTO instances (id, cluster, ordinal, ended, format, record) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET ordinal = excluded.ordinal, ended = excluded.ended, "
            "format = excluded.format, record = excluded.record",
            (instance.id, uid, instance.ordinal, instance.ended, FORMAT, text),
        )
        differs = True
    return differs


def _delete_instances(db: sqlite3.Connection, uid: str, forget: Iterable[str]) -> bool:
    deleted = 0
    for instance_id in forget:
        deleted += db.execute("DELETE FROM instances WHERE id = ? AND cluster = ?", (instance_id, uid)).rowcount
    return deleted > 0


def prune(db: sqlite3.Connection, ended_before: float, events_before: float, keep_events: int) -> PruneResult:
    """Delete old clusters and old history, and note up to where the changes have gaps now; see `Store.prune`."""
    rows = db.execute("SELECT uid FROM clusters WHERE ended IS NOT NULL AND ended < ? ORDER BY seq", (ended_before,))
    uids = [row[0] for row in rows]
    newest = max(_oldest_cut(db, events_before), _count_cut(db, keep_events))
    deleted = _note_forgotten(db, db.execute("SELECT revision FROM changes WHERE revision <= ?", (newest,)))
    db.execute("DELETE FROM changes WHERE revision <= ?", (newest,))
    for uid in uids:
        deleted += _note_forgotten(db, db.execute("SELECT revision FROM changes WHERE cluster = ?", (uid,)))
        db.execute("DELETE FROM changes WHERE cluster = ?", (uid,))
        db.execute("DELETE FROM clusters WHERE uid = ?", (uid,))  # and its instances, by cascade
    return PruneResult(tuple(uids), deleted)


def _oldest_cut(db: sqlite3.Connection, before: float) -> int:
    """The last revision before the first that is young enough: a clock set back cuts off nothing that followed."""
    row = db.execute("SELECT revision FROM changes WHERE time >= ? ORDER BY revision LIMIT 1", (before,)).fetchone()
    return int(row[0]) - 1 if row else reads.newest_revision(db)


def _count_cut(db: sqlite3.Connection, keep: int) -> int:
    row = db.execute("SELECT revision FROM changes ORDER BY revision DESC LIMIT 1 OFFSET ?", (max(keep, 0),)).fetchone()
    return int(row[0]) if row else 0


def _note_forgotten(db: sqlite3.Connection, revisions: Iterable[tuple[int]]) -> int:
    """Record up to where the changes have gaps, these being about to be deleted; how many they are."""
    gone = [row[0] for row in revisions]
    newest = max(gone, default=0)
    if newest > reads.forgotten(db):
        db.execute(
            "INSERT INTO meta (key, value) VALUES ('forgotten', ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (str(newest),),
        )
    return len(gone)
