"""All reconcilers, and what the API asks of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

import structlog

from daskd.drivers.protocol import Site
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotRunning, DaskdError, NotAllowed, SchedulerUnreachable
from daskd.model.event import Event
from daskd.model.identity import Identity
from daskd.model.views import Connection, DriverInfo, Explanation, HeldWorkView, LogLine, WorkerView
from daskd.security.vault import Vault
from daskd.store import Store

from .acts import Acts
from .census import Census, census
from .cluster_sites import HOME, ClusterSites
from .explain import Known, explain
from .idle import IdleWatch
from .leftovers import clear_leftovers
from .link import Dial, HubState, Link, LinkError
from .log_reader import LogReader
from .policy import groups_of
from .reconciler import Reconciler
from .retention import Keep, Retention
from .settings import Settings
from .sites import Sites
from .tasks import end
from .view import View
from .workers import views

log = structlog.get_logger(__name__)

FRESH_TIMEOUT = 3.0
"""Seconds that a caller waits for fresh gauges before the last known ones must do."""


class Controller:
    """Runs a reconciler for every live cluster.

    Parameters
    ----------
    open_site
        Opens a driver as the user of that uid.
    daemon_uid
        The daemon's own: its site is observed always, for on it everything that bears the daemon's mark shows.
    drivers
        All drivers, as the API shows them.
    keep
        How long what has ended is remembered.
    """

    def __init__(
        self,
        *,
        store: Store,
        open_site: Callable[[str, int], Awaitable[Site]],
        daemon_uid: int,
        drivers: Mapping[str, DriverInfo],
        vault: Vault,
        settings: Settings,
        keep: Keep,
    ) -> None:
        self.drivers = drivers
        self._store = store
        self._daemon_uid = daemon_uid
        self._vault = vault
        self._settings = settings
        self._keep = keep
        self._sites = Sites(open_site, settings, self._instances)
        self._reconcilers: dict[str, Reconciler] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._retention: Retention | None = None

    async def start(self) -> None:
        """Take up every live cluster. One that can't be is told in the log, and holds up no other."""
        for cluster in await self._store.live():
            try:
                await self.created(cluster)
            except (DaskdError, OSError) as error:
                log.error("a cluster can't be taken up", cluster=cluster.uid, owner=cluster.owner, error=str(error))
        await self._sites.hold(HOME, self._daemon_uid)
        self._spawn(clear_leftovers(self._store, self._sites.of, self._vault), "leftovers")
        self._spawn(IdleWatch(self._store, self._present, self.wake).run(), "idle time-outs")
        self._retention = Retention(self._store, self._sites.of, self._keep)
        self._spawn(self._retention.run(), "retention")

    def census(self) -> Census:
        """How many of everything there are now."""
        return census(self._reconcilers.values())

    def configure(self, settings: Settings, keep: Keep) -> None:
        """Go by another configuration from now on; what was begun under the old one is not begun anew."""
        self._settings, self._keep = settings, keep
        self._sites.settings = settings
        if self._retention is not None:
            self._retention.keep = keep
        for reconciler in self._reconcilers.values():
            reconciler.settings = settings
            reconciler.wake()

    async def stop(self) -> None:
        """Stop looking. Nothing is ended: what runs is found again."""
        await end([*self._tasks.values(), *self._background])
        await self._sites.close()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        # no background task may die unseen
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task ended", task=task.get_name(), exc_info=error)

    async def created(self, cluster: Cluster) -> None:
        """Start the reconciler of a cluster."""
        sites = ClusterSites(cluster.uid, cluster.owner_uid, self._sites)
        await sites.hold([HOME])
        if cluster.uid in self._tasks:
            sites.leave()
            return
        reconciler = Reconciler(
            cluster.uid,
            store=self._store,
            sites=sites,
            settings=self._settings,
            acts=lambda of: Acts(of, self._vault),
        )
        self._reconcilers[cluster.uid] = reconciler
        task = asyncio.create_task(reconciler.run(), name=f"reconciler of {cluster.uid}")
        self._tasks[cluster.uid] = task
        task.add_done_callback(lambda done: self._ended(cluster.uid, done))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._reconcilers.pop(uid, None)
        self._tasks.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("a reconciler ended", cluster=uid, exc_info=error)

    def wake(self, uid: str) -> None:
        """The cluster's record changed."""
        if reconciler := self._reconcilers.get(uid):
            reconciler.wake()

    async def _instances(self) -> set[str]:
        # by the store: a cluster whose reconciler could not load it yet has no orphans
        live = await self._store.live()
        found = [instance for cluster in live for instance in await self._store.instances(cluster.uid)]
        return {name for instance in found for name in (instance.id, instance.handle.element)}

    async def check_owner(self, who: Identity, drivers: Collection[str] = ()) -> None:
        """See that clusters of that user can run here, and that the user can use these drivers.

        Raises
        ------
        NotAllowed
            When they can't; the words say why and what to do.
        """
        for driver in dict.fromkeys([HOME, *drivers]):
            site = await self._sites.of(driver, who.uid)
            health = await site.check()
            if not health.usable:
                raise NotAllowed(health.words, facts={"user": who.name, "driver": driver})

    async def _present(self, uid: str) -> HubState | None:
        return await self._state(uid, last=False)

    async def _state(self, uid: str, *, last: bool) -> HubState | None:
        """What a scheduler says now; None when it says nothing, or then (`last`) what it said last."""
        reconciler = self._reconcilers.get(uid)
        if reconciler is None or reconciler.hub is None:
            return None
        try:
            return await asyncio.wait_for(reconciler.hub.link.state(None, 0.0), FRESH_TIMEOUT)
        except (LinkError, asyncio.TimeoutError, TimeoutError):
            return reconciler.hub.view.state if last else None

    async def workers(self, cluster: Cluster, include_ended: bool) -> list[WorkerView]:
        """The cluster's workers, with their gauges as they are now."""
        instances = await self._store.instances(cluster.uid, include_ended=include_ended)
        state = await self._state(cluster.uid, last=True) if cluster.ended is None else None
        return views(cluster, instances, {worker.name: worker for worker in state.workers} if state else {})

    async def explain(self, cluster: Cluster) -> Explanation:
        """Why the cluster is as it is, by what is known of it now."""
        history: list[Event] = []
        while more := await self._store.events(cluster.uid, after=history[-1].revision if history else 0):
            history += more
        reconciler = self._reconcilers.get(cluster.uid)
        if reconciler is None:
            return explain(Known(View(cluster, (), self._settings), history=history), time.time())
        hub, starts = reconciler.hub, reconciler.sites.start_s
        known = Known(
            reconciler.sight(cluster),
            groups_of(cluster, self._settings, starts),
            hub.snapshot if hub is not None else None,
            hub.snapshot_trouble if hub is not None else "",
            reconciler.decision,
            history,
        )
        return explain(known, time.time())

    def logs(
        self, cluster: Cluster, *, scheduler: bool, worker: str, follow: bool, tail: int | None, since: float | None
    ) -> AsyncIterator[list[LogLine]]:
        """Lines of the cluster's logs."""
        reader = LogReader(
            self._store, self._sites.of, cluster, scheduler=scheduler, worker=worker, tail=tail, since=since
        )
        return reader.read(follow=follow)

    async def connection(self, cluster: Cluster) -> Connection:
        """What a Dask client needs.

        Raises
        ------
        ClusterNotRunning
            While there is no scheduler to connect to.
        """
        scheduler = cluster.scheduler
        if cluster.ended is not None or cluster.stop or scheduler.started is None:
            raise ClusterNotRunning(
                f"cluster {cluster.name!r} is {cluster.phase.value}: "
                + (cluster.message or "its scheduler is not up yet; wait until it is RUNNING"),
                facts={"cluster": cluster.name, "phase": cluster.phase.value},
            )
        credentials = await self._vault.credentials(cluster.uid)
        return Connection(
            scheduler_address=scheduler.address,
            ca_certificate=credentials.ca,
            client_certificate=credentials.certificates["client"],
            client_key=credentials.keys["client"],
            dashboard_link=scheduler.dashboard,
            versions=dict(scheduler.versions),
        )

    def dashboard(self, cluster: Cluster) -> Dial | None:
        """Dials the dashboard that the daemon serves for a cluster; None: there is none now."""
        reconciler = self._reconcilers.get(cluster.uid)
        if not cluster.dashboard_proxied or reconciler is None or reconciler.door is None:
            return None
        return reconciler.door.dashboard

    def _link(self, cluster: Cluster) -> Link:
        reconciler = self._reconcilers.get(cluster.uid)
        if reconciler is None or reconciler.hub is None:
            raise ClusterNotRunning(
                f"cluster {cluster.name!r} is {cluster.phase.value}: it has no scheduler now",
                facts={"cluster": cluster.name, "phase": cluster.phase.value},
            )
        return reconciler.hub.link

    async def held_work(self, cluster: Cluster) -> list[HeldWorkView]:
        """What lost clients left."""
        try:
            document = await self._link(cluster).held()
        except LinkError as error:
            raise _unreachable(cluster, error) from error
        return [
            HeldWorkView(
                client=held.client,
                lost=held.since,
                expires=held.expires,
                keys=held.keys,
                bytes=held.bytes,
                states=dict(held.states),
                sample_keys=held.sample,
            )
            for held in document.clients
        ]

    async def discard_held_work(self, cluster: Cluster, client: str) -> tuple[int, int]:
        """Let go of what one lost client, or all, left; answers with keys and bytes."""
        try:
            gone = await self._link(cluster).discard(client or None)
        except LinkError as error:
            raise _unreachable(cluster, error) from error
        return gone.keys, gone.bytes


def _unreachable(cluster: Cluster, error: LinkError) -> SchedulerUnreachable:
    return SchedulerUnreachable(
        f"the scheduler of {cluster.name!r} does not answer the daemon: {error.words}. Try again; "
        f"`daskctl logs {cluster.name} --scheduler` may say why",
        facts={"cluster": cluster.name},
    )
