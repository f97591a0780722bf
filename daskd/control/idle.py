"""What becomes of clusters that have been idle for as long as their spec allows: they end, or lose their workers."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from daskd.model.cluster import Cluster, Group, Instance, Phase
from daskd.model.errors import DaskdError
from daskd.model.event import NewEvent
from daskd.model.quantity import seconds_in_words
from daskd.model.spec import OnIdle, WorkerGroupSpec
from daskd.store import Store

from .link import HubState

log = structlog.get_logger(__name__)

EVERY = 1.0

FULL = 0.6
"""The share of a worker's memory limit that results may take: where Dask's workers begin to spill."""


def is_overdue(cluster: Cluster, now: float) -> bool:
    """Whether it has been idle for its time-out.

    What waits for a lost client's return is not idle: the scheduler says `idle_since` only where no such work is
    held. Nor is a cluster whose workers are still on their way: the clock starts anew when they have come.
    """
    timeout = cluster.spec.idle_timeout
    if not timeout or cluster.stop or cluster.phase is not Phase.RUNNING:
        return False
    if cluster.scheduler.heard is not None or cluster.idle_since is None:
        return False
    if any(_is_coming(group) for group in cluster.groups):
        return False
    since = max(cluster.idle_since, *(group.last_join or 0.0 for group in cluster.groups))
    return now - since >= timeout


def _is_coming(group: Group) -> bool:
    """Whether workers of it are on their way; one that was just scaled has none of them launched yet."""
    return not group.failures and (group.pending > 0 or group.running < group.desired)


def kept(cluster: Cluster, state: HubState, instances: Iterable[Instance]) -> Mapping[str, int]:
    """How many workers of each group an idle cluster keeps, for the results that clients still hold.

    Parameters
    ----------
    state
        What the scheduler says now.
    instances
        The cluster's that have not ended.
    """
    groups = {instance.id: instance.group for instance in instances}
    held: Counter[str] = Counter()
    if state.tasks.get("memory"):
        for worker in state.workers:
            held[groups.get(worker.instance or "", "")] += worker.managed
    return {spec.name: _room_for(held[spec.name], spec) for spec in cluster.spec.groups}


def _room_for(size: int, spec: WorkerGroupSpec) -> int:
    if not size:
        return 0
    limit = spec.memory_limit
    return 1 if limit == "auto" or not limit else math.ceil(size / (FULL * limit))


def scaled_down(cluster: Cluster, keep: Mapping[str, int]) -> Cluster:
    """It with no more workers wanted than are kept; the same one if it has no more.

    Groups with an adaptive policy go to their minimum by themselves, as soon as they wait no longer for the first work.
    """
    groups = tuple(_group_scaled_down(group, keep.get(group.name, 0)) for group in cluster.groups)
    if groups == cluster.groups:
        return cluster
    now = {group.name: group for group in groups}
    specs = tuple(_spec_of(spec, now[spec.name]) if spec.name in now else spec for spec in cluster.spec.groups)
    return dataclasses.replace(cluster, groups=groups, spec=cluster.spec.model_copy(update={"groups": specs}))


def _group_scaled_down(group: Group, keep: int) -> Group:
    if group.adaptive is None:
        return dataclasses.replace(group, desired=min(group.desired, keep))
    policy = group.adaptive.policy
    if policy.initial is None:
        return group
    policy = policy.model_copy(update={"initial": None})
    return dataclasses.replace(group, adaptive=dataclasses.replace(group.adaptive, policy=policy))


def _spec_of(spec: WorkerGroupSpec, group: Group) -> WorkerGroupSpec:
    if group.adaptive is None:
        return spec.model_copy(update={"n_workers": group.desired})
    return spec.model_copy(update={"adaptive": spec.adaptive and spec.adaptive.model_copy(update={"initial": None})})


def told(before: Cluster, after: Cluster) -> tuple[NewEvent, ...]:
    """What happened to an idle cluster, with how to have it otherwise."""
    idle = f"idle for its idle timeout of {seconds_in_words(before.spec.idle_timeout or 0.0)}"
    facts = {"idle_timeout": str(before.spec.idle_timeout)}
    if before.stop != after.stop:
        return (NewEvent("IDLE_TIMEOUT", after.stop, facts=facts),)
    changed = [(was, now) for was, now in zip(before.groups, after.groups, strict=True) if was != now]
    if not changed:
        return ()
    # how many an adaptive group wants is its policy's to tell
    fixed = [(was, now) for was, now in changed if now.adaptive is None]
    counts = ", ".join(f"{now.desired} instead of {was.desired} in {now.name!r}" for was, now in fixed)
    kept_for = "; they hold results that clients want" if any(now.desired for _, now in fixed) else ""
    name = before.name
    words = (
        f"{idle}: workers: {counts or 'as adaptive policies say'}{kept_for}. The scheduler stays; "
        f"`daskctl scale {name} N`, or scale(N) of the cluster's object, has workers again"
    )
    facts |= {f"from.{was.name}": str(was.desired) for was, _ in fixed}
    facts |= {f"to.{now.name}": str(now.desired) for _, now in fixed}
    return (NewEvent("IDLE_SCALED", words, facts=facts),)


class IdleWatch:
    """Looks every second.

    Parameters
    ----------
    state
        What a cluster's scheduler says now, by the cluster's uid; None where it says nothing. The record may be some
        seconds old, and nobody's work is ended on that.
    wake
        Called with the uid of a cluster that it changed.
    """

    def __init__(
        self, store: Store, state: Callable[[str], Awaitable[HubState | None]], wake: Callable[[str], None]
    ) -> None:
        self._store = store
        self._state = state
        self._wake = wake
        self._settled: dict[str, int] = {}  # uid: the revision at which nothing was left to do

    async def run(self) -> None:
        """Look until cancelled."""
        revision, live = -1, list[Cluster]()
        while True:
            if self._store.revision != revision:
                revision, live = self._store.revision, await self._store.live()
                settled = {cluster.uid: cluster.revision for cluster in live}
                self._settled = {uid: at for uid, at in self._settled.items() if settled.get(uid) == at}
            for cluster in live:
                if cluster.uid not in self._settled and is_overdue(cluster, time.time()):
                    await self._try(cluster)
            await asyncio.sleep(EVERY)

    async def _try(self, cluster: Cluster) -> None:
        try:
            await self._look(cluster)
        except DaskdError as error:  # one that is gone, or a disk that is full, must not end the watch over all
            log.warning("an idle cluster could not be changed; tried again", cluster=cluster.uid, error=error.words)

    async def _look(self, cluster: Cluster) -> None:
        state = await self._state(cluster.uid)
        if state is None or not is_overdue(dataclasses.replace(cluster, idle_since=state.idle_since), time.time()):
            return
        if cluster.spec.on_idle is OnIdle.DELETE:
            words = f"idle for its idle timeout of {seconds_in_words(cluster.spec.idle_timeout or 0.0)}"
            await self._change(cluster, lambda current: dataclasses.replace(current, stop=words))
            return
        keep = kept(cluster, state, await self._store.instances(cluster.uid))
        await self._change(cluster, lambda current: scaled_down(current, keep))

    async def _change(self, cluster: Cluster, change: Callable[[Cluster], Cluster]) -> None:
        after = await self._store.update(
            cluster.uid,
            lambda current: change(current) if is_overdue(current, time.time()) else current,
            events=told,
        )
        if after.revision == cluster.revision:
            self._settled[cluster.uid] = after.revision
        else:
            self._wake(cluster.uid)
