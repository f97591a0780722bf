"""Pure: which of what nobody asked about is an orphan, and since when."""

from __future__ import annotations

from collections.abc import Iterable

from daskd.model.cluster import Handle


class Strays:
    """Strays, and when each was first seen.

    Parameters
    ----------
    grace
        Seconds from start-up, and from its first sight, before one counts as an orphan: adoption comes first.
    started
        When the daemon started, unix seconds.
    """

    def __init__(self, grace: float, started: float) -> None:
        self._grace = grace
        self._started = started
        self._since: dict[str, float] = {}

    def look(self, seen: Iterable[Handle], known: set[str], now: float) -> tuple[list[Handle], list[Handle]]:
        """Those that are new, and those that are orphans by now.

        Parameters
        ----------
        seen
            What a complete listing by a healthy driver shows of ours, unasked.
        known
            Ids of instances that the store has live rows of.
        """
        strays = {handle.id: handle for handle in seen if handle.id not in known}
        new = [handle for key, handle in strays.items() if key not in self._since]
        self._since = {key: self._since.get(key, now) for key in strays}
        if now - self._started < self._grace:
            return new, []
        return new, [handle for key, handle in strays.items() if now - self._since[key] >= self._grace]
