"""Reads the numbered log files that a supervisor writes (CRI logging format: `TIME STREAM F|P TEXT`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_FILE = re.compile(r"output\.(\d{1,12})\.log", re.ASCII)
_BLOCK = 256 * 1024

Lines = tuple[tuple[float, str], ...]
"""Unix seconds and text of each."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """After so many bytes of the file with that number."""

    number: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Back from its text; the beginning when it is empty or none of ours."""
        number, _, offset = text.partition(":")
        if number.isdigit() and offset.isdigit():
            return cls(int(number), int(offset))
        return cls(0, 0)

    def __str__(self) -> str:
        return f"{self.number}:{self.offset}"


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _FILE.fullmatch(name)))


def _parse(line: bytes) -> tuple[float, str, bool]:
    """Unix seconds, text, and whether the text goes on in the next line."""
    stamp, _, rest = line.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    try:
        # fromisoformat of Python 3.10 takes six digits of a second and no Z
        seconds = datetime.fromisoformat(stamp[:26].decode("ascii") + "+00:00").timestamp()
    except ValueError:
        return 0.0, line.decode("utf-8", "replace"), False
    return seconds, text.decode("utf-8", "replace"), tag == b"P"


def _lines(data: bytes) -> list[tuple[float, str]]:
    lines: list[tuple[float, str]] = []
    unfinished = ""
    for raw in data.split(b"\n")[:-1]:
        seconds, text, partial = _parse(raw)
        unfinished += text
        if not partial:
            lines.append((seconds, unfinished))
            unfinished = ""
    if unfinished:
        lines.append((seconds, unfinished))
    return lines


def read(folder: Path, cursor: str) -> Iterator[tuple[Lines, str]]:
    """What the log holds after the cursor now, oldest first: chunks of at most some 256 KiB, each with its cursor."""
    at = Cursor.parse(cursor)
    for number in _numbers(folder):
        if number < at.number:
            continue
        offset = at.offset if number == at.number else 0
        try:
            descriptor = os.open(folder / f"output.{number}.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # rotated away meanwhile
        with os.fdopen(descriptor, "rb") as file:
            file.seek(offset)
            while block := file.read(_BLOCK):
                whole = block[: block.rfind(b"\n") + 1]
                if not whole:
                    break
                offset += len(whole)
                yield tuple(_lines(whole)), str(Cursor(number, offset))
                file.seek(offset)
