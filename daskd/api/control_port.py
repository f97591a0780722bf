"""What the API asks of the control plane. `daskd.control` implements it; servicers know nothing more of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Protocol

from daskd.model.cluster import Cluster
from daskd.model.identity import Identity
from daskd.model.views import Connection, DriverInfo, Explanation, HeldWorkView, LogLine, WorkerView


class Control(Protocol):
    """The control plane, seen from the API."""

    @property
    def drivers(self) -> Mapping[str, DriverInfo]:
        """Drivers by name."""
        ...

    async def check_owner(self, who: Identity, drivers: Collection[str] = ()) -> None:
        """See that clusters of that user can run here and use these drivers.

        Raises NotAllowed, with the mend, when they can't.
        """
        ...

    def wake(self, uid: str) -> None:
        """Tell the cluster's reconciler that its record changed."""
        ...

    async def created(self, cluster: Cluster) -> None:
        """Start the reconciler of a cluster that was just recorded."""
        ...

    async def workers(self, cluster: Cluster, include_ended: bool) -> list[WorkerView]:
        """Its workers, those that are expected, and those that ended and are remembered."""
        ...

    async def explain(self, cluster: Cluster) -> Explanation:
        """Why it is as it is."""
        ...

    def logs(
        self, cluster: Cluster, *, scheduler: bool, worker: str, follow: bool, tail: int | None, since: float | None
    ) -> AsyncIterator[list[LogLine]]:
        """Lines of its logs, in batches; raises WorkerNotFound for a worker that it never had."""
        ...

    async def connection(self, cluster: Cluster) -> Connection:
        """What a client needs; raises ClusterNotRunning while there is no scheduler."""
        ...

    async def held_work(self, cluster: Cluster) -> list[HeldWorkView]:
        """What lost clients left; raises SchedulerUnreachable."""
        ...

    async def discard_held_work(self, cluster: Cluster, client: str) -> tuple[int, int]:
        """Let go of it, of one client's or (empty) of all; answers with keys and bytes."""
        ...
