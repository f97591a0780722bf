"""One cluster's loop: observe, absorb, persist, decide, act; again on wake-up or timer."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from daskd.drivers.protocol import Room
from daskd.measures import MEASURES
from daskd.model import adaptive
from daskd.model.cluster import Cluster, Instance, Record, Role, State
from daskd.model.errors import DaskdError
from daskd.model.event import NewEvent
from daskd.model.spec import WorkerGroupSpec
from daskd.store import Store

from . import lifetime, policy, queueing
from .absorb import absorb
from .acts import Acts
from .cluster_sites import ClusterSites, drivers_of
from .hub import Hub
from .ledger import Ledger
from .link import Link
from .merge import merge
from .plan import Chosen, decide
from .settings import Settings
from .tails import tails_of
from .view import HubView, View

log = structlog.get_logger(__name__)

REMEMBER_EVERY = 10.0
ERROR_PAUSE = 2.0
SOON = 0.05
WORDLESS = 3
"""Intervals that a policy or a daemon which has just begun waits for the scheduler's word before it does without."""


class Reconciler:
    """Keeps one cluster equal to its record, until nothing of it runs and it has ended.

    Parameters
    ----------
    uid
        The cluster.
    sites
        The systems that it uses.
    """

    def __init__(
        self,
        uid: str,
        *,
        store: Store,
        sites: ClusterSites,
        settings: Settings,
        acts: Callable[[Reconciler], Acts],
    ) -> None:
        self.uid = uid
        self.store = store
        self.sites = sites
        self.settings = settings
        self.hub: Hub | None = None
        self.instances: dict[str, Instance] = {}
        self.asked: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self.forced: dict[str, float] = {}
        self._acts = acts(self)
        self._wake = asyncio.Event()
        self.decision: adaptive.Decision | None = None
        self._memory: adaptive.Memory | None = None
        self._loaded = False
        self._decided = 0.0
        self._remembered = 0.0
        self._began = time.time()

    def wake(self) -> None:
        """Something changed: look again."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until the cluster has ended."""
        # the context is the one of the call that made this task
        structlog.contextvars.clear_contextvars()
        with structlog.contextvars.bound_contextvars(cluster=self.uid):
            try:
                while not await self._turn():
                    pass
            finally:
                await self.leave()

    async def leave(self) -> None:
        """Stop looking; nothing is ended."""
        self.sites.leave()
        if self.hub is not None:
            await self.hub.close()
            self.hub = None

    async def _load(self, cluster: Cluster) -> None:
        for instance in await self.store.instances(self.uid):
            self.instances[instance.id] = instance
        await self.sites.hold(drivers_of(cluster, self.instances.values()))
        # the daemon ended between the intent and the driver's answer
        unsure = [
            dataclasses.replace(instance, record=Record.UNSURE)
            for instance in self.instances.values()
            if instance.record is Record.INTENDED
        ]
        if unsure:
            await self.commit(instances=unsure)
        await self._acts.end_again([i.id for i in self.instances.values() if i.stopping is not None])

    async def _turn(self) -> bool:
        self._wake.clear()
        structlog.contextvars.bind_contextvars(reconcile_id=secrets.token_hex(4))
        try:
            with MEASURES.timed("reconcile"):
                ended, again = await self._pass()
        except (DaskdError, OSError) as error:
            log.error("a pass failed; it is tried again", error=str(error))
            MEASURES.count("reconcile_failures")
            ended, again = False, ERROR_PAUSE
        except Exception:  # a bug in one pass must not leave the cluster without its keeper
            log.exception("a pass failed unexpectedly; it is tried again")
            MEASURES.count("reconcile_failures")
            ended, again = False, ERROR_PAUSE
        if ended:
            return True
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._wake.wait(), again)
        return False

    async def _pass(self) -> tuple[bool, float]:
        cluster = await self.store.get(self.uid)
        if cluster is None:
            return True, 0.0
        if not self._loaded:
            await self._load(cluster)
            self._loaded = True
        await self.sites.hold(drivers_of(cluster, self.instances.values()))
        await self._listen(cluster)
        view = await self._view(cluster)
        now = time.time()
        chosen, again = Chosen(), 10.0
        ledger = absorb(view, now)
        left = lifetime.enforce(ledger, now)
        if self._adapts(ledger.cluster):
            chosen, again = self._adapt(ledger, view, now)
        else:
            self._look(ledger, view, now)
        cluster = await self.settle(cluster, ledger)
        if cluster.ended is not None:
            await self._acts.clean_up(cluster)
            return True, 0.0
        plan = decide(self._after(view, cluster), chosen, now)
        try:
            for action in plan.actions:
                await self._acts.perform(cluster, action)
        finally:
            if plan.actions:
                self.sites.acted(drivers_of(cluster, self.instances.values()))
        self._watch(hurry=plan.again < 5.0 or bool(plan.actions))
        return False, min(plan.again, again, max(left, SOON))

    async def _listen(self, cluster: Cluster) -> None:
        scheduler = next((i for i in self.instances.values() if i.role is Role.SCHEDULER), None)
        path = self.sites.of(scheduler.handle.driver).link_path(scheduler.handle) if scheduler else None
        if self.hub is not None and (scheduler is None or self.hub.link.instance != scheduler.id):
            await self.hub.close()
            self.hub = None
        if self.hub is None and scheduler is not None and path is not None and scheduler.record is Record.ACCEPTED:
            self.hub = Hub(Link(path, cluster.owner_uid, self.uid, scheduler.id), self.wake)
        if self.hub is not None:
            wanted = not cluster.stop and self.hub.view.state is not None
            has_ends = any(instance.expected_end is not None for instance in self.instances.values())
            pace = policy.pace_of(cluster, self.settings, has_ends=has_ends)
            self.hub.want_snapshots(pace if wanted else None)

    async def _view(self, cluster: Cluster) -> View:
        seen, listings = self.sites.observed()
        ended = [
            self.instances[key]
            for key, observation in seen.items()
            if observation.state is State.ENDED and key in self.instances
        ]
        return View(
            cluster=cluster,
            instances=tuple(self.instances.values()),
            settings=self.settings,
            observations=seen,
            listings=listings,
            hub=self.hub.view if self.hub is not None else HubView(),
            tails=await tails_of(self.sites.of, ended),
            refused=self.refused,
            forced=self.forced,
            asked=self.asked,
            snapshot=self.hub.snapshot if self.hub is not None else None,
            rooms=self._rooms(cluster),
        )

    def _after(self, view: View, cluster: Cluster) -> View:
        """What a pass saw, when its record has been persisted."""
        return dataclasses.replace(
            self.sight(cluster),
            observations=view.observations,
            listings=view.listings,
            hub=view.hub,
            snapshot=view.snapshot,
        )

    def sight(self, cluster: Cluster) -> View:
        """What is known now of the cluster, which is its record; without what was listed."""
        return View(
            cluster=cluster,
            instances=tuple(self.instances.values()),
            settings=self.settings,
            hub=self.hub.view if self.hub is not None else HubView(),
            refused=self.refused,
            forced=self.forced,
            asked=self.asked,
            snapshot=self.hub.snapshot if self.hub is not None else None,
            rooms=self._rooms(cluster),
        )

    def _rooms(self, cluster: Cluster) -> dict[str, Room]:
        rooms = {group.name: self.room(group) for group in cluster.spec.groups}
        return {name: room for name, room in rooms.items() if room is not None}

    def room(self, group: WorkerGroupSpec) -> Room | None:
        """How many more instances of a group may wait for their start now; None: as many as are wanted."""
        if not self.sites.has(group.driver):
            return None
        return self.sites.of(group.driver).room(group, queueing.waiting(self.instances.values(), group.name))

    def _adapts(self, cluster: Cluster) -> bool:
        if not cluster.adaptive_groups:
            self._memory = self.decision = None
            return False
        return not cluster.stop and self.hub is not None

    def _adapt(self, ledger: Ledger, view: View, now: float) -> tuple[Chosen, float]:
        """Let the policy decide, when its interval is over or the hub has something new to say."""
        assert self.hub is not None
        interval = policy.pace_of(ledger.cluster, self.settings).interval
        snapshot = self.hub.snapshot
        fresh = snapshot is not None and snapshot.received > self._decided
        early = snapshot is None and now - max(policy.in_force_since(ledger.cluster), self._began) < WORDLESS * interval
        if view.hub.state is None or early or (now - self._decided < interval and not fresh):
            # between two decisions the last target stands, and nobody goes
            return Chosen(groups=frozenset(ledger.cluster.adaptive_groups)), interval
        if self._memory is None:
            self._memory = policy.remembered(ledger.cluster)
        starts, beat = self.sites.start_s, self._beat(now)
        chosen, self.decision = policy.apply(ledger, view, snapshot, self._memory, starts=starts, now=now, beat=beat)
        self._memory, self._decided = self.decision.memory, now
        return chosen, interval

    def _look(self, ledger: Ledger, view: View, now: float) -> None:
        """See what nobody can run, when the hub has something new to say."""
        snapshot = self.hub.snapshot if self.hub is not None else None
        if ledger.cluster.stop or snapshot is None or snapshot.received <= self._decided:
            return
        starts, beat = self.sites.start_s, self._beat(now)
        policy.look(ledger, view, snapshot, starts=starts, now=now, beat=beat)
        self._decided = now

    def _beat(self, now: float) -> bool:
        """Whether it is time to persist what alone is no news."""
        if 0 <= now - self._remembered <= REMEMBER_EVERY:
            return False
        self._remembered = now
        return True

    async def settle(self, before: Cluster, ledger: Ledger) -> Cluster:
        """Persist what a pass made of the record; what the API changed meanwhile stays as the API said."""
        changed = ledger.changed
        if ledger.cluster == before and not changed and not ledger.events:
            return before
        return await self.commit(
            lambda current: merge(current, before, ledger.cluster), instances=changed, events=ledger.events
        )

    async def commit(
        self,
        change: Callable[[Cluster], Cluster] = lambda cluster: cluster,
        *,
        instances: Sequence[Instance] = (),
        events: Sequence[NewEvent] = (),
    ) -> Cluster:
        """One transaction, and what is remembered here after it."""
        cluster = await self.store.update(self.uid, change, instances=instances, events=events)
        for instance in instances:
            if instance.state is State.ENDED:
                self.instances.pop(instance.id, None)
            else:
                self.instances[instance.id] = instance
        for event in events:
            log.info(event.message, event_type=event.type)
        return cluster

    def _watch(self, *, hurry: bool) -> None:
        self.sites.watch(self.instances.values(), self.wake, hurry=hurry)
