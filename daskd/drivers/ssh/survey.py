"""Pure: what a host said of itself, understood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .connection import Down, Refused, Unanswered
from .endpoint import Take
from .placement import Room

LEAST_DISK = 64 << 20
"""Bytes that must be free where code, logs and spilled data go."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A host with what it has, and what runs on it of this daemon's, by id."""

    room: Room
    running: Mapping[str, Take] | None = None


def surveyed(
    room: Room, answer: dict[str, Any] | Down | Unanswered | Refused, asked: Sequence[str], *, has_distributed: bool
) -> Surveyed:
    """A host by its answer; what the options say of it goes before what it says itself.

    Parameters
    ----------
    asked
        The Pythons that were asked for.
    has_distributed
        That its Python has `distributed` is known from before.
    """
    if not isinstance(answer, dict):
        words = str(answer) if isinstance(answer, Down) else f"can't be used: {answer}"
        return Surveyed(dataclasses.replace(room, words=words))
    python = answer.get("python")
    words = ""
    if not python:
        words = f"has no Python {' or '.join(asked)}: name one by the option `python`"
    elif not has_distributed and not answer.get("distributed"):
        words = f"has no `distributed` in {python!s:.200}: install it, or name another by the option `python`"
    elif (disk := answer.get("disk")) is not None and _whole(disk, 0) < LEAST_DISK:
        words = f"has no room for logs in {room.endpoint.directory}: {_whole(disk, 0) >> 20} MiB are free"
    cores, memory = room.cores or _whole(answer.get("cores"), 1), room.memory or _whole(answer.get("memory"), 0)
    running = answer.get("running")
    takes = running.items() if isinstance(running, dict) else ()
    return Surveyed(
        dataclasses.replace(room, cores=cores, memory=memory, words=words),
        {str(name): _take(take) for name, take in takes},
    )


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 60 else otherwise


def _take(document: Any) -> Take:
    said = document if isinstance(document, dict) else {}
    # one whose record is gone runs nevertheless
    return Take(_whole(said.get("workers"), 1), _whole(said.get("cores"), 1), _whole(said.get("memory"), 0))
