"""Pure: which of a journal's records still matter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from .records import Aside, Graph, Key, Noted, Record, Released, Scattered, Stamp, Wanted


def compacted(records: Iterable[Record], live: Mapping[Stamp, Collection[Key]]) -> Iterator[Record]:
    """Leave out what makes no difference to a replay.

    A graph none of whose tasks exists any more would be forgotten again, and so would what was wanted and released of
    it. Of a graph that lives every such record stays: a key that was let go and defined anew has to be so again.

    Parameters
    ----------
    records : iterable
        All but the header, in order.
    live : mapping
        The keys that each graph, and each lot of scattered data, had, for those of which some exist.
    """
    records = list(records)
    known: set[Key] = set()
    last: dict[tuple[str, Any], int] = {}
    for n, record in enumerate(records):
        if isinstance(record, Noted):
            last[record.kind, record.name] = n
        elif isinstance(record, Graph | Scattered) and record.stamp in live:
            known.update(live[record.stamp])
    for n, record in enumerate(records):
        if isinstance(record, Graph | Scattered):
            kept: Record | None = record if record.stamp in live else None
        elif isinstance(record, Wanted | Released):
            kept = _of_known(record, known)
        elif isinstance(record, Noted):
            kept = record if last[record.kind, record.name] == n and record.value is not None else None
        elif isinstance(record, Aside):
            stamps = tuple(stamp for stamp in record.stamps if stamp in live)
            kept = Aside(stamps) if stamps else None
        else:
            kept = record
        if kept is not None:
            yield kept


def _of_known(record: Wanted | Released, known: set[Key]) -> Record | None:
    keys = tuple(key for key in record.keys if key in known)
    if len(keys) == len(record.keys):
        return record if keys else None
    return type(record)(record.client, keys) if keys else None
