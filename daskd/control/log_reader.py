"""Reads the logs of a cluster's instances as one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from daskd.drivers.protocol import Site
from daskd.model.cluster import Cluster, Instance, Role
from daskd.model.errors import WorkerNotFound
from daskd.model.views import LogLine
from daskd.store import Store

BATCH = 500
FOLLOW_EVERY = 0.25


class LogReader:
    """One request for logs.

    Parameters
    ----------
    site_of
        A driver's site as the user of that uid.
    scheduler, worker
        The scheduler's only; one worker's only, by its name or its instance's id; neither: all.
    tail
        Only the last so many lines of each log; None: all.
    since
        Only lines written at or after this, unix seconds.
    """

    def __init__(
        self,
        store: Store,
        site_of: Callable[[str, int], Awaitable[Site]],
        cluster: Cluster,
        *,
        scheduler: bool,
        worker: str,
        tail: int | None,
        since: float | None,
    ) -> None:
        self._store = store
        self._site_of = site_of
        self._cluster = cluster
        self._scheduler = scheduler
        self._worker = worker
        self._tail = tail
        self._since = since
        self._cursors: dict[str, str] = {}

    async def read(self, *, follow: bool) -> AsyncIterator[list[LogLine]]:
        """Lines in batches, by time; with `follow` until the cluster has ended.

        Raises
        ------
        WorkerNotFound
            When the cluster never had such a worker.
        """
        async for batch in self._past():
            yield batch
        while follow:
            cluster = await self._store.get(self._cluster.uid)
            over = cluster is None or cluster.ended is not None
            async for batch in self._news():
                yield batch
            if over:
                return
            await asyncio.sleep(FOLLOW_EVERY)

    async def _instances(self) -> Sequence[Instance]:
        found = await self._store.instances(self._cluster.uid, include_ended=True)
        if self._scheduler:
            return [instance for instance in found if instance.role is Role.SCHEDULER]
        if not self._worker:
            return found
        chosen = [i for i in found if self._worker in (*i.workers, i.id)]
        if not chosen:
            raise WorkerNotFound(
                f"cluster {self._cluster.name!r} has no worker {self._worker!r}: `daskctl workers "
                f"{self._cluster.name} --all` lists them",
                facts={"cluster": self._cluster.name, "worker": self._worker},
            )
        return chosen

    async def _past(self) -> AsyncIterator[list[LogLine]]:
        lines: list[LogLine] = []
        for instance in await self._instances():
            kept: deque[LogLine] = deque(maxlen=self._tail)
            async for chunk in self._lines(instance):
                kept.extend(chunk)
            lines += kept
        # each log is in order already, and logs of one cluster overlap in time
        lines.sort(key=lambda line: line.time)
        for start in range(0, len(lines), BATCH):
            yield lines[start : start + BATCH]

    async def _news(self) -> AsyncIterator[list[LogLine]]:
        for instance in await self._instances():
            async for chunk in self._lines(instance):
                if chunk:
                    yield chunk

    async def _lines(self, instance: Instance) -> AsyncIterator[list[LogLine]]:
        source = instance.group or "scheduler"
        cursor = self._cursors.get(instance.id, "")
        site = await self._site_of(instance.handle.driver, self._cluster.owner_uid)
        async for chunk in site.logs(instance.handle, cursor, self._since):
            self._cursors[instance.id] = chunk.cursor
            yield [LogLine(seconds, instance.id, source, instance.workers, text) for seconds, text in chunk.lines]
