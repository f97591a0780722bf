"""How many there are: gauges for those who watch the daemon as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .reconciler import Reconciler


@dataclass(frozen=True, slots=True)
class Census:
    """Counts over all clusters.

    Attributes
    ----------
    workers
        Workers that a scheduler knows, by Dask's status of them.
    instances
        Instances that have not ended, by role and state.
    deaf
        Clusters whose scheduler was heard before and does not answer now.
    """

    workers: Counter[str]
    instances: Counter[tuple[str, str]]
    deaf: int


def census(reconcilers: Iterable[Reconciler]) -> Census:
    """Count what the reconcilers know."""
    taken = Census(Counter(), Counter(), 0)
    deaf = 0
    for reconciler in reconcilers:
        taken.instances.update((i.role.value, i.state.value) for i in reconciler.instances.values())
        view = reconciler.hub.view if reconciler.hub is not None else None
        if view is not None and view.state is not None:
            taken.workers.update(worker.status for worker in view.state.workers)
            deaf += not view.connected
    return Census(taken.workers, taken.instances, deaf)
