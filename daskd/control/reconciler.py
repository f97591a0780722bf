"""One cluster's loop: observe, absorb, persist, decide, act; again on wake-up or timer."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from daskd.drivers.protocol import Site
from daskd.measures import MEASURES
from daskd.model import adaptive
from daskd.model.cluster import Cluster, Instance, Record, Role, State
from daskd.model.errors import DaskdError
from daskd.model.event import NewEvent
from daskd.store import Store

from . import lifetime, policy
from .absorb import absorb
from .acts import Acts
from .hub import Hub
from .ledger import Ledger
from .link import Link
from .merge import merge
from .observer import Observer
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
    on_end
        Called once it has ended.
    """

    def __init__(
        self,
        uid: str,
        *,
        store: Store,
        site: Site,
        observer: Observer,
        settings: Settings,
        acts: Callable[[Reconciler], Acts],
    ) -> None:
        self.uid = uid
        self.store = store
        self.site = site
        self.settings = settings
        self.hub: Hub | None = None
        self.instances: dict[str, Instance] = {}
        self.asked: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self.forced: dict[str, float] = {}
        self._observer = observer
        self._acts = acts(self)
        self._wake = asyncio.Event()
        self._memory: adaptive.Memory | None = None
        self._loaded = False
        self._decided = 0.0
        self._remembered = 0.0
        self._acted_after = 0
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
        self._observer.forget(self.uid)
        if self.hub is not None:
            await self.hub.close()
            self.hub = None

    async def _load(self) -> None:
        for instance in await self.store.instances(self.uid):
            self.instances[instance.id] = instance
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
            await self._load()
            self._loaded = True
        await self._listen(cluster)
        view = await self._view(cluster)
        now = time.time()
        chosen, again = Chosen(), 10.0
        ledger = absorb(view, now)
        left = lifetime.enforce(ledger, now)
        if self._adapts(ledger.cluster):
            chosen, again = self._adapt(ledger, view, now)
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
                self._acted_after = self._observer.asked
                self._observer.nudge()
        self._watch(hurry=plan.again < 5.0 or bool(plan.actions))
        return False, min(plan.again, again, max(left, SOON))

    async def _listen(self, cluster: Cluster) -> None:
        scheduler = next((i for i in self.instances.values() if i.role is Role.SCHEDULER), None)
        path = self.site.link_path(scheduler.handle) if scheduler else None
        if self.hub is not None and (scheduler is None or self.hub.link.instance != scheduler.id):
            await self.hub.close()
            self.hub = None
        if self.hub is None and scheduler is not None and path is not None and scheduler.record is Record.ACCEPTED:
            self.hub = Hub(Link(path, cluster.owner_uid, self.uid, scheduler.id), self.wake)
        if self.hub is not None:
            wanted = not cluster.stop and self.hub.view.state is not None
            self.hub.want_snapshots(policy.interval_of(cluster, self.settings) if wanted else None)

    async def _view(self, cluster: Cluster) -> View:
        number, begun, seen = self._observer.last(self.uid)
        ended = [
            self.instances[key]
            for key, observation in seen.items()
            if observation.state is State.ENDED and key in self.instances
        ]
        return View(
            cluster=cluster,
            instances=tuple(self.instances.values()),
            settings=self.settings,
            # what was listed before the last act says nothing of it
            observations=seen if number > self._acted_after else {},
            observed=begun,
            settle=self.site.capabilities.settle_s,
            hub=self.hub.view if self.hub is not None else HubView(),
            tails=await tails_of(self.site, ended),
            refused=self.refused,
            forced=self.forced,
            asked=self.asked,
        )

    def _after(self, view: View, cluster: Cluster) -> View:
        return View(
            cluster=cluster,
            instances=tuple(self.instances.values()),
            settings=view.settings,
            observed=view.observed,
            hub=view.hub,
            refused=self.refused,
            forced=self.forced,
            asked=self.asked,
        )

    def _adapts(self, cluster: Cluster) -> bool:
        if not cluster.adaptive_groups:
            self._memory = None
            return False
        return not cluster.stop and self.hub is not None

    def _adapt(self, ledger: Ledger, view: View, now: float) -> tuple[Chosen, float]:
        """Let the policy decide, when its interval is over or the hub has something new to say."""
        assert self.hub is not None
        interval = policy.effective(ledger.cluster, self.settings).interval
        snapshot = self.hub.snapshot
        fresh = snapshot is not None and snapshot.received > self._decided
        early = snapshot is None and now - max(policy.in_force_since(ledger.cluster), self._began) < WORDLESS * interval
        if view.hub.state is None or early or (now - self._decided < interval and not fresh):
            # between two decisions the last target stands, and nobody goes
            return Chosen(groups=frozenset(ledger.cluster.adaptive_groups)), interval
        if self._memory is None:
            self._memory = policy.remembered(ledger.cluster)
        start_s = self.site.capabilities.start_s
        chosen, self._memory = policy.apply(ledger, view, snapshot, self._memory, start_s, now)
        self._decided = now
        if snapshot is not None and snapshot.more_work and now - self._remembered > REMEMBER_EVERY:
            self._remembered = now
            policy.remember(ledger, self._memory)
        return chosen, interval

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
        handles = {key: instance.handle for key, instance in self.instances.items()}
        self._observer.watch(self.uid, handles, self.wake, hurry=hurry)
