"""The arguments of ``Scheduler.update_graph``, as a journal keeps them and as a replay gives them again.

Releases of distributed differ in how they send a graph: a ``Serialized`` (since 2025), or a header and a list of
frames. Either is bytes that nobody here looks into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distributed.protocol.serialize import Serialized

from .framing import Buffer
from .records import Frames


def packed(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Buffer, ...]]:
    """Return arguments with their bytes taken out, and the bytes."""
    frames: list[Buffer] = []
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Serialized):
            kept[name] = Frames(value.header, len(frames), len(value.frames))
            frames += value.frames
        elif name == "graph_frames":
            kept[name] = Frames(None, len(frames), len(value))
            frames += value
        else:
            kept[name] = value
    return kept, tuple(frames)


def unpacked(arguments: Mapping[str, Any], frames: Sequence[Buffer]) -> dict[str, Any]:
    """Return the arguments as they were."""
    return {name: _whole(value, frames) for name, value in arguments.items()}


def _whole(value: Any, frames: Sequence[Buffer]) -> Any:
    if not isinstance(value, Frames):
        return value
    own = [bytes(frame) for frame in frames[value.first : value.first + value.count]]
    return own if value.header is None else Serialized(value.header, own)
