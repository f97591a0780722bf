"""Reading the scheduler's snapshot: its process runs users' code, hence believed only once checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from daskd.model.adaptive import ClassRow, Pairs, PrefixRow, Snapshot, WorkerRow

MAX_CLASSES = 256
MAX_ROWS = 512
MAX_WORKERS = 20_000
MAX_NAMES = 1024
MAX_TEXT = 1024
MAX_COUNT = 2**53
MAX_SECONDS = 1e12

STATUSES = frozenset(
    (
        "undefined",
        "created",
        "init",
        "starting",
        "running",
        "paused",
        "stopping",
        "stopped",
        "closing",
        "closing_gracefully",
        "closed",
        "failed",
        "dont_reply",
    )
)
"""distributed's names of a worker's status."""

CLASS_KEYS = frozenset(("resources", "hosts", "workers", "ready", "executing", "rows", "example", "unserved"))
WORKER_FIELDS = 12


class BadSnapshot(ValueError):
    """A snapshot that is not what a runtime writes; to be treated as none at all."""


def parse_snapshot(raw: object, *, received: float | None = None, previous: Snapshot | None = None) -> Snapshot:
    """Check a decoded ``/v1/snapshot`` and make a :class:`Snapshot` of it.

    Parameters
    ----------
    raw
        The decoded JSON. Top-level fields that this release does not know are passed over.
    received
        When it came, by this daemon's clock in unix seconds. Default: the snapshot's own time.
    previous
        The snapshot before, if ``raw`` holds only the workers' rows that changed since and names those
        ``gone``.

    Raises
    ------
    BadSnapshot
        If a field lacks, has another type, is out of its range or too long. The text names the field.
    """
    top = _mapping(raw, "snapshot")
    t = _seconds(top.get("t"), "t")
    rows = {} if previous is None else {row.name: row for row in previous.workers}
    for name in _list(top.get("gone", []), "gone", MAX_WORKERS):
        rows.pop(_text(name, "gone"), None)
    rows.update(_worker_rows(top))
    if len(rows) > MAX_WORKERS:
        raise BadSnapshot(f"workers: more than {MAX_WORKERS} in all")
    return Snapshot(
        t=t,
        received=t if received is None else received,
        rev=_count(top.get("rev", 0), "rev"),
        wake=_count(top.get("wake", 0), "wake"),
        graph_updates=_count(top.get("graph_updates", 0), "graph_updates"),
        waiting=_count(top.get("waiting"), "waiting"),
        more_work=_flag(top.get("more_work"), "more_work"),
        classes=_class_rows(top),
        workers=tuple(rows.values()),
        prefixes_left_out=_count(top.get("prefixes_left_out", 0), "prefixes_left_out"),
    )


def _worker_rows(top: Mapping[str, Any]) -> dict[str, WorkerRow]:
    rows: dict[str, WorkerRow] = {}
    for raw in _list(top.get("workers"), "workers", MAX_WORKERS):
        row = _worker_row(raw)
        if row.name in rows:
            raise BadSnapshot(f"workers: {row.name!r} twice")
        rows[row.name] = row
    return rows


def _class_rows(top: Mapping[str, Any]) -> tuple[ClassRow, ...]:
    classes = tuple(_class_row(raw) for raw in _list(top.get("classes"), "classes", MAX_CLASSES))
    if len({row.key for row in classes}) != len(classes):
        raise BadSnapshot("classes: two with the same restrictions")
    return classes


def _class_row(raw: object) -> ClassRow:
    row = _mapping(raw, "classes[]")
    # a field that we do not know may be a restriction that we would overlook
    if unknown := set(row) - CLASS_KEYS:
        raise BadSnapshot(f"classes[]: unknown field {sorted(map(str, unknown))[0][:64]!r}")
    example, unserved = row.get("example"), row.get("unserved")
    return ClassRow(
        ready=_count(row.get("ready"), "classes[].ready"),
        executing=_count(row.get("executing", 0), "classes[].executing"),
        rows=tuple(_prefix_row(item) for item in _list(row.get("rows"), "classes[].rows", MAX_ROWS)),
        resources=_resources(row.get("resources", {})),
        hosts=_names(row.get("hosts", []), "classes[].hosts"),
        workers=_names(row.get("workers", []), "classes[].workers"),
        example=None if example is None else _text(example, "classes[].example"),
        unserved=None if unserved is None else _count(unserved, "classes[].unserved"),
    )


def _prefix_row(raw: object) -> PrefixRow:
    fields = _list(raw, "classes[].rows[]", 3)
    if len(fields) != 3:
        raise BadSnapshot("classes[].rows[]: not count, mean, longest")
    return PrefixRow(
        count=_count(fields[0], "classes[].rows[].count"),
        mean=_seconds_or_unknown(fields[1], "classes[].rows[].mean"),
        longest=_seconds_or_unknown(fields[2], "classes[].rows[].longest"),
    )


def _worker_row(raw: object) -> WorkerRow:
    fields = _list(raw, "workers[]", WORKER_FIELDS)
    if len(fields) != WORKER_FIELDS:
        raise BadSnapshot(f"workers[]: {len(fields)} fields instead of {WORKER_FIELDS}")
    name, instance, status, *counts, idle, elapsed, expected = fields
    if not isinstance(status, str) or status not in STATUSES:
        raise BadSnapshot("workers[].status: not a status of distributed's workers")
    processing, long_running, actors, nbytes, unique, limit = (_count(n, "workers[]") for n in counts)
    return WorkerRow(
        name=_text(name, "workers[].name"),
        instance=None if instance is None else _text(instance, "workers[].instance"),
        status=status,
        processing=processing,
        long_running=long_running,
        actors=actors,
        nbytes=nbytes,
        unique=unique,
        limit=limit,
        idle_since=None if idle is None else _seconds(idle, "workers[].idle_since"),
        elapsed=_seconds_or_unknown(elapsed, "workers[].elapsed") or 0.0,
        expected=_seconds_or_unknown(expected, "workers[].expected") or 0.0,
    )


def _resources(raw: object) -> Pairs:
    pairs = _mapping(raw, "classes[].resources")
    if len(pairs) > MAX_NAMES:
        raise BadSnapshot(f"classes[].resources: more than {MAX_NAMES}")
    return tuple(
        sorted((_text(name, "classes[].resources"), _seconds(n, "classes[].resources")) for name, n in pairs.items())
    )


def _names(raw: object, what: str) -> tuple[str, ...]:
    return tuple(sorted({_text(name, what) for name in _list(raw, what, MAX_NAMES)}))


def _mapping(raw: object, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise BadSnapshot(f"{what}: not an object")
    return raw


def _list(raw: object, what: str, most: int) -> list[Any]:
    if not isinstance(raw, list):
        raise BadSnapshot(f"{what}: not a list")
    if len(raw) > most:
        raise BadSnapshot(f"{what}: more than {most}")
    return raw


def _text(raw: object, what: str) -> str:
    if not isinstance(raw, str) or not raw or len(raw) > MAX_TEXT:
        raise BadSnapshot(f"{what}: not a text of 1 to {MAX_TEXT} characters")
    return raw


def _flag(raw: object, what: str) -> bool:
    if not isinstance(raw, bool):
        raise BadSnapshot(f"{what}: not true or false")
    return raw


def _count(raw: object, what: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_COUNT:
        raise BadSnapshot(f"{what}: not a whole number from 0 to 2**53")
    return raw


def _seconds(raw: object, what: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise BadSnapshot(f"{what}: not a number")
    # compared before the conversion: a whole number may be too large to be a float
    if not 0 <= raw <= MAX_SECONDS or not math.isfinite(raw):
        raise BadSnapshot(f"{what}: not from 0 to {MAX_SECONDS:g}")
    return float(raw)


def _seconds_or_unknown(raw: object, what: str) -> float | None:
    return None if raw is None or raw == -1 else _seconds(raw, what)
