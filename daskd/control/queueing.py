"""Pure: instances that are not launched yet, for only so many may wait in a system's queue."""

from __future__ import annotations

import re
from collections.abc import Iterable

from daskd.drivers.protocol import Room
from daskd.model.cluster import Group, Instance, Role, State
from daskd.model.spec import WorkerGroupSpec

_TOLD = re.compile(r"\d+ of \d+ workers wait: .*", re.DOTALL)


def waiting(nodes: Iterable[Instance], group: str) -> int:
    """How many instances of a group are, or may have been, launched and do not run yet."""
    return sum(
        node.role is Role.NODE
        and node.group == group
        and node.joined is None
        and node.stopping is None
        and node.state in (State.QUEUED, State.STARTING, State.UNKNOWN)
        for node in nodes
    )


def held_back(group: Group, spec: WorkerGroupSpec, nodes: Iterable[Instance], room: Room | None) -> str:
    """Which of a group's workers are not launched for want of room, in words; empty: none.

    Parameters
    ----------
    nodes
        Those of the group that have not ended.
    room
        How many more may wait; None: as many as there are.
    """
    if room is None or group.removing:
        return ""
    active = [node for node in nodes if node.retiring is None and node.stopping is None and node.rotating is None]
    missing = spec.instances_for(group.desired) - len(active) - room.more
    if missing <= 0:
        return ""
    workers = min(group.desired, missing * spec.workers_per_instance)
    return f"{workers} of {group.desired} workers wait: {room.words}"


def is_told(message: str) -> bool:
    """Whether a group's message is of this."""
    return _TOLD.fullmatch(message) is not None
