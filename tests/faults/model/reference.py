"""What must come of each cluster, by what was asked of the API and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daskd.model.cluster import Cluster, Phase


@dataclass
class Expected:
    """One cluster as its user has it.

    Attributes
    ----------
    bounds
        Of its adaptive policy; None: it has none.
    loaded
        It has more work than any number of workers.
    expires, latest
        When its lifetime is over, and the latest that the wall clock has shown; unix seconds. The clock may be set.
    """

    uid: str
    name: str
    desired: int
    bounds: tuple[int, int] | None = None
    loaded: bool = False
    deleted: bool = False
    expires: float | None = None
    latest: float = 0.0

    def passes(self, now: float) -> None:
        """Time goes on, or the clock is set."""
        self.latest = max(self.latest, now)

    @property
    def may_live(self) -> bool:
        """Whether calls that need a live cluster must be answered."""
        return not self.deleted and (self.expires is None or self.latest < self.expires)

    def misses(self, now: float, record: Cluster | None) -> Iterator[str]:
        """How a record at rest differs from what must have come of it."""
        if record is None:
            yield f"{self.name} has no record"
            return
        expired = self.expires is not None and now >= self.expires
        if self.deleted or expired:
            if record.phase is not Phase.STOPPED or record.ended is None:
                yield f"{self.name} shall have ended, and is {record.phase.value}: {record.message}"
            return
        if record.stop:
            if self.may_live:
                yield f"{self.name} shall live, and ends: {record.stop}"
            return
        group = record.groups[0]
        wanted = self._wanted(record.spec.groups[0].workers_per_node)
        if group.desired != wanted:
            yield f"{self.name} shall have {wanted} workers, and {group.desired} are desired"
        if (group.adaptive is not None) != (self.bounds is not None):
            yield f"{self.name} has another policy: {group.adaptive}"

    def _wanted(self, each: int) -> int:
        """Workers; those that follow the work come in whole nodes of `each`, of which the minimum takes enough."""
        if self.bounds is None:
            return self.desired
        low, high = self.bounds
        least = -(-low // each) * each
        return max(least, high // each * each) if self.loaded else least
