"""Reads a journal: what it says, and in words what of it can't be read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .framing import ForeignFileError, scan
from .records import Graph, Header, Record, Stamp, Started, UnreadableRecordError, decode


@dataclass(frozen=True)
class Contents:
    """What a journal says.

    Parameters
    ----------
    header : Header or None
        None: there is no journal, or none that can be read.
    records : tuple
        All after the header, in order.
    end : int
        Bytes that are good.
    trouble : str
        What could not be read, in words; empty: nothing.
    damaged : bool
        More was lost than a writer's death explains: what was read is true, and may be old.
    """

    header: Header | None = None
    records: tuple[Record, ...] = ()
    end: int = 0
    trouble: str = ""
    damaged: bool = False
    graphs: dict[Stamp, Graph] = field(init=False)

    def __post_init__(self) -> None:
        graphs = {record.stamp: record for record in self.records if isinstance(record, Graph)}
        object.__setattr__(self, "graphs", graphs)

    @property
    def number(self) -> int:
        """The number of the last scheduler that began; 0: none."""
        return max((record.number for record in self.records if isinstance(record, Started)), default=0)


def read(path: Path) -> Contents:
    """Read a journal; never raises for what is in the file.

    Raises
    ------
    OSError
        The file is there and can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return Contents()
    with os.fdopen(descriptor, "rb") as file:
        data = file.read()
    return parse(data)


def parse(data: bytes) -> Contents:
    """Return what the bytes of a journal say."""
    try:
        found = scan(data)
    except ForeignFileError as error:
        return Contents(trouble=f"the journal is none of this version: {error}", damaged=True)
    records: list[Record] = []
    for number, parts in enumerate(found.records):
        try:
            records.append(decode(parts))
        except UnreadableRecordError as error:
            # the rest builds on it, and can't be trusted without
            words = f"record {number} of the journal can't be read, nor what follows it: {error}"
            return _contents(records, found.end, words, damaged=True)
    words = ""
    if found.damaged:
        words = f"the journal is damaged after {found.end} bytes: the {found.cut} bytes that follow are left out"
    elif found.cut:
        words = f"the journal's last record was not finished: {found.cut} bytes are cut"
    return _contents(records, found.end, words, damaged=found.damaged)


def _contents(records: list[Record], end: int, trouble: str, *, damaged: bool) -> Contents:
    if not records or not isinstance(records[0], Header):
        return Contents(trouble=trouble or "the journal has no header", damaged=True)
    return Contents(records[0], tuple(records[1:]), end, trouble, damaged)
