"""What is placed on each host, by what was decided and by what hosts and listings show."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from daskd.drivers.protocol import Observation
from daskd.model.cluster import Handle, State

from .endpoint import Endpoint, Take, endpoint_of, take_of

UNSEEN_S = 120.0
"""What was decided and is asked about by nobody for so long was never launched."""


@dataclass(frozen=True, slots=True)
class _Placed:
    folder: str
    take: Take
    until: float


class Loads:
    """A table of instances, each with its host and what it takes of it."""

    def __init__(self) -> None:
        self._placed: dict[str, _Placed] = {}

    def by_host(self) -> dict[str, Take]:
        """What is taken of each host, by the name of its folder."""
        loads: dict[str, Take] = {}
        now = time.monotonic()
        for placed in self._placed.values():
            if now < placed.until:
                loads[placed.folder] = loads.get(placed.folder, Take()) + placed.take
        return loads

    def reserve(self, handles: Iterable[Handle]) -> None:
        """These are to be launched."""
        for handle in handles:
            if endpoint := endpoint_of(handle):
                self._put(handle.id, endpoint, take_of(handle))

    def free(self, ids: Iterable[str]) -> None:
        """These are not there any more."""
        for key in ids:
            self._placed.pop(key, None)

    def found(self, endpoint: Endpoint, running: Mapping[str, Take] | None) -> None:
        """A host said what runs there."""
        for key, take in (running or {}).items():
            self._put(key, endpoint, take)

    def observed(self, known: Sequence[Handle], seen: Iterable[Observation]) -> None:
        """A listing: what has ended takes nothing, whatever else is asked about does."""
        self.reserve(known)
        self.free(observation.handle.id for observation in seen if observation.state is State.ENDED)

    def _put(self, key: str, endpoint: Endpoint, take: Take) -> None:
        self._placed[key] = _Placed(endpoint.folder, take, time.monotonic() + UNSEEN_S)
