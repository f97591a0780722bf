"""Pure: how long something has been in doubt. What a listing lacks is not dead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

LISTINGS = 3
SECONDS = 60.0
WITHOUT_MEMORY_S = 600.0
"""Who remembers may be away for weeks: after so long it takes no word of theirs."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    since: float
    listings: int = 0
    deep: bool = False


class Doubts:
    """Instances that complete listings lacked."""

    def __init__(self) -> None:
        self._of: dict[str, _Doubt] = {}

    def listed(self, doubted: Iterable[str], begun: float, *, deep: bool) -> None:
        """A complete listing left these in doubt, and no others.

        Parameters
        ----------
        deep
            It asked whoever remembers, too.
        """
        before, self._of = self._of, {}
        for key in doubted:
            doubt = before.get(key) or _Doubt(begun)
            self._of[key] = replace(doubt, listings=doubt.listings + 1, deep=doubt.deep or deep)

    def clear(self, keys: Iterable[str]) -> None:
        """Something was done with these: their doubts begin anew."""
        for key in keys:
            self._of.pop(key, None)

    def is_settled(self, key: str, now: float) -> bool:
        """Whether it was in doubt for three listings over a minute, one of them deep, or over ten minutes."""
        doubt = self._of.get(key)
        if doubt is None or doubt.listings < LISTINGS:
            return False
        return now - doubt.since >= (SECONDS if doubt.deep else WITHOUT_MEMORY_S)
