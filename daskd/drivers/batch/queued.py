"""Pure: how many jobs of a user wait in the queue, and how many more may."""

from __future__ import annotations

from collections.abc import Iterable

from daskd.drivers.protocol import Room
from daskd.model.cluster import State

from .elements import Element, batch_of
from .system import Row

FORGOTTEN_S = 60.0
"""What was prepared and is in no listing of so much later was never submitted, or has ended."""


class Queued:
    """Who waits, by the last listing and by what was prepared since.

    Parameters
    ----------
    most
        How many of a user's may; None: as many as are asked for.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._listed: frozenset[Element] = frozenset()
        self._prepared: dict[Element, float] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._listed.union(self._prepared))

    def prepared(self, elements: Iterable[Element], now: float) -> None:
        """These are about to be submitted."""
        self._prepared |= dict.fromkeys(elements, now)

    def refused(self, elements: Iterable[Element]) -> None:
        """These were not taken."""
        for element in elements:
            self._prepared.pop(element, None)

    def listed(self, rows: Iterable[Row], begun: float) -> None:
        """A whole listing that was begun then shows these."""
        here = [row for row in rows if batch_of(row.name) is not None]
        self._listed = frozenset((row.name, row.index) for row in here if row.state is State.QUEUED)
        shown = {(row.name, row.index) for row in here}
        self._prepared = {
            element: when
            for element, when in self._prepared.items()
            if element not in shown and begun - when < FORGOTTEN_S
        }

    def room(self, most_of_group: int | None, waiting: int) -> Room | None:
        """How many more of a group may be submitted.

        Parameters
        ----------
        most_of_group
            How many of it may wait; None: as many as are asked for.
        waiting
            How many of it do.
        """
        rooms = []
        if self._most is not None:
            rooms.append(Room(max(0, self._most - self.count), f"the site allows {_jobs(self._most)}"))
        if most_of_group is not None:
            rooms.append(
                Room(max(0, most_of_group - waiting), f"the group's `max_queued` allows {_jobs(most_of_group)}")
            )
        return min(rooms, key=lambda room: room.more, default=None)


def _jobs(n: int) -> str:
    return f"{n} queued job{'' if n == 1 else 's'}"
