"""Pure: on which host each of a group's nodes is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .endpoint import Endpoint, Take


@dataclass(frozen=True, slots=True)
class Room:
    """What a host has, as far as it is known or was told.

    Attributes
    ----------
    slots
        Workers that it may have; None: as many as its cores and its memory allow.
    words
        Why nothing can be placed there now ("down since 12:03: ..."); empty: something can.
    """

    endpoint: Endpoint
    slots: int | None = None
    cores: int = 0
    memory: int = 0
    words: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A host for each node, None where there is none, and then why in words."""

    endpoints: tuple[Endpoint | None, ...]
    words: str = ""


def slots(room: Room, load: Take, worker: Take) -> tuple[int, int]:
    """Slots of a host that are free and that there are, a slot being room for one worker of that kind.

    Threads may be more than cores for the first worker of a host, for threads share; memory is never more.
    """
    if room.slots is not None:
        return max(0, room.slots - load.workers), room.slots
    fits = max(1, room.cores // max(1, worker.cores))
    free = (room.cores - load.cores) // max(1, worker.cores) if load.workers else fits
    if worker.memory:
        fits = min(fits, room.memory // worker.memory)
        free = min(free, (room.memory - load.memory) // worker.memory)
    return max(0, free), fits


def place(nodes: Sequence[int], worker: Take, rooms: Sequence[Room], loads: Mapping[str, Take]) -> Placed:
    """Spread nodes over hosts: each goes where most slots are free, among equals to the first in order.

    Parameters
    ----------
    nodes
        How many workers each has.
    worker
        What one worker takes.
    rooms
        The hosts, in the order of the options.
    loads
        What is on them already, by the name of their folder.
    """
    now = {room.endpoint.folder: loads.get(room.endpoint.folder, Take()) for room in rooms}
    chosen: list[Endpoint | None] = []
    for workers in nodes:
        fitting = [
            (free, room)
            for room in rooms
            if not room.words and (free := slots(room, now[room.endpoint.folder], worker)[0]) >= workers
        ]
        if not fitting:
            chosen.append(None)
            continue
        endpoint = max(fitting, key=lambda found: found[0])[1].endpoint
        now[endpoint.folder] += Take(workers, workers * worker.cores, workers * worker.memory)
        chosen.append(endpoint)
    return Placed(tuple(chosen), _words(rooms, now, worker) if None in chosen else "")


def _words(rooms: Sequence[Room], loads: Mapping[str, Take], worker: Take) -> str:
    told = []
    for room in rooms:
        free, fits = slots(room, loads[room.endpoint.folder], worker)
        told.append(f"{room.endpoint.name} {room.words or f'{fits - free}/{fits}'}")
    listed = ", ".join(told[:20]) + (", ..." if len(told) > 20 else "")
    return f"no host has a free slot: {listed}"
