"""What a journal says, as values; and the parts that a record of each consists of.

A record's first part is its kind, the second a pickle of its fields, the rest are the bytes that it carries as they
came. Pickles, because Dask's keys are tuples as well as texts; nothing but the scheduler's process reads them, which
runs what it is sent anyway.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed.protocol import pickle as dask_pickle

from .framing import Buffer

Key = Any  # Dask's keys: str, bytes, int, float or tuples of them

Stamp = tuple[int, int]
"""When a graph came: the scheduler's number in the cluster's life, the graph's number in the scheduler's."""


class UnreadableRecordError(Exception):
    """A record is whole, and says nothing that this version knows; the text says what is wrong."""


@dataclass(frozen=True)
class Header:
    """Which run of the cluster this is, and the versions of what wrote it, by package."""

    run: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Started:
    """A scheduler began: its number, and when (unix seconds)."""

    number: int
    time: float


@dataclass(frozen=True)
class Ended:
    """A scheduler ended because it was told to."""

    time: float


@dataclass(frozen=True)
class Graph:
    """A graph was submitted: all that ``update_graph`` was given.

    ``frames`` are the buffers of its serialized arguments, which ``arguments`` refers to by :class:`Frames`.
    """

    stamp: Stamp
    client: str
    keys: tuple[Key, ...]
    arguments: Mapping[str, Any]
    frames: tuple[Buffer, ...]


@dataclass(frozen=True)
class Wanted:
    """A client came to want keys."""

    client: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Released:
    """A client wants keys no more."""

    client: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Scattered:
    """Data came that no task makes: its keys and sizes in bytes."""

    stamp: Stamp
    sizes: Mapping[Key, int]


@dataclass(frozen=True)
class Noted:
    """Something that is registered by name (a plugin, a dataset, ...) has another value; None: it is gone."""

    kind: str
    name: Any
    value: Any


@dataclass(frozen=True)
class Aside:
    """Graphs were set aside, for the scheduler died of them or near them."""

    stamps: tuple[Stamp, ...]


@dataclass(frozen=True)
class Frames:
    """Stands in a graph's arguments for a value that is bytes: which of the record's frames are its own.

    With a header the value was distributed's ``Serialized``; without, a list of frames.
    """

    header: Any
    first: int
    count: int


Record = Header | Started | Ended | Graph | Wanted | Released | Scattered | Noted | Aside

_KINDS: dict[bytes, type] = {
    kind.__name__.encode(): kind for kind in (Header, Started, Ended, Graph, Wanted, Released, Scattered, Noted, Aside)
}


def encode(record: Record) -> list[Buffer]:
    """Return a record's parts.

    Raises
    ------
    Exception
        Whatever a value raises that can't be pickled.
    """
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    frames: Sequence[Buffer] = fields.pop("frames", ())
    # annotations hold whatever users put there, functions too
    return [type(record).__name__.encode(), dask_pickle.dumps(fields), *frames]


def decode(parts: Sequence[Buffer]) -> Record:
    """Return the record of these parts.

    Raises
    ------
    UnreadableRecordError
        They are none of a kind that this version knows, or can't be unpickled here.
    """
    if len(parts) < 2:
        raise UnreadableRecordError(f"a record of {len(parts)} parts has no kind")
    kind = _KINDS.get(bytes(parts[0]))
    if kind is None:
        raise UnreadableRecordError(f"there is no record of kind {bytes(parts[0])!r:.60} in this version")
    try:
        fields = pickle.loads(parts[1])  # noqa: S301 - written by this scheduler's predecessor, for its owner alone
        if kind is Graph:
            fields["frames"] = tuple(parts[2:])
        return kind(**fields)
    except Exception as error:  # unpickling raises whatever the classes of another environment do
        raise UnreadableRecordError(f"a {kind.__name__} record: {type(error).__name__}: {error}") from error
