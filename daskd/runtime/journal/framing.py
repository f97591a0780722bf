"""Records on disk: a magic number, a checksum, lengths, parts. Pure: bytes in, bytes out.

A record is ``MAGIC | crc32 | number of parts | length of each part | parts``, numbers in network order; the checksum
covers all that follows it. A process that dies while it writes leaves a record that is short; what a disk damages fails
its checksum. Either way the reader keeps what lies before, and tells which of both it was.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

FILE_MAGIC = b"daskd-journal-1\n"
MAGIC = b"\xdaDJ\x01"

_HEAD = struct.Struct(">4sII")
_CHECKSUM_END = 8  # of a record's head: what lies beyond is covered by the checksum
_MOST_PARTS = 1 << 20

Buffer = bytes | bytearray | memoryview


class ForeignFileError(Exception):
    """The file is no journal; the text says what it is instead."""


@dataclass(frozen=True)
class Scan:
    """What could be read of a journal.

    Parameters
    ----------
    records : list
        The parts of each record that is whole, in order.
    end : int
        Bytes up to the end of the last of them: the file is to be cut there.
    cut : int
        Bytes beyond, which can't be read.
    damaged : bool
        Whole records lie beyond what can't be read, so that was no writer's death.
    """

    records: list[tuple[memoryview, ...]]
    end: int
    cut: int
    damaged: bool


def frame(parts: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers that, one after the other, are the record of these parts.

    Raises
    ------
    ValueError
        There are too many parts.
    """
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"a record of {len(parts)} parts is more than {_MOST_PARTS}")
    views = [memoryview(part).cast("B") if memoryview(part).nbytes else b"" for part in parts]
    lengths = struct.pack(f">{len(views)}Q", *(len(view) for view in views))
    checksum = zlib.crc32(lengths, zlib.crc32(struct.pack(">I", len(views))))
    for view in views:
        checksum = zlib.crc32(view, checksum)
    return [_HEAD.pack(MAGIC, checksum, len(views)), lengths, *views]


def unframe(data: memoryview, at: int) -> tuple[tuple[memoryview, ...], int] | None:
    """Return the parts of the record at an offset and where it ends; None where there is no whole one."""
    if at + _HEAD.size > len(data):
        return None
    magic, checksum, count = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size + 8 * count
    if magic != MAGIC or count > _MOST_PARTS or begin > len(data):
        return None
    lengths = struct.unpack_from(f">{count}Q", data, at + _HEAD.size)
    end = begin + sum(lengths)
    if end > len(data) or zlib.crc32(data[at + _CHECKSUM_END : end]) != checksum:
        return None
    parts = []
    for length in lengths:
        parts.append(data[begin : begin + length])
        begin += length
    return tuple(parts), end


def scan(data: Buffer) -> Scan:
    """Read a whole journal.

    Raises
    ------
    ForeignFileError
        It does not begin as a journal of this version does.
    """
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    if bytes(view[: len(FILE_MAGIC)]) != FILE_MAGIC:
        begin = bytes(view[: len(FILE_MAGIC)])
        raise ForeignFileError(f"it begins with {begin!r} instead of {FILE_MAGIC!r}" if begin else "it is empty")
    records = []
    at = len(FILE_MAGIC)
    while (found := unframe(view, at)) is not None:
        parts, at = found
        records.append(parts)
    return Scan(records, at, len(view) - at, _has_record_after(view, at))


def _has_record_after(view: memoryview, at: int) -> bool:
    data = view.obj if isinstance(view.obj, bytes) else bytes(view)
    at = data.find(MAGIC, at)
    while at >= 0:
        if unframe(view, at) is not None:
            return True
        at = data.find(MAGIC, at + 1)
    return False
