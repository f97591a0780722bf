"""How a call changes a cluster: counted against quotas, recorded with its history in one transaction, then woken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from daskd.control.desired import Step
from daskd.crashpoints import reached
from daskd.model.cluster import Cluster
from daskd.model.event import NewEvent
from daskd.security.authorize import Caller

from .history import from_caller
from .services import Services

StepFrom: TypeAlias = Callable[[Cluster], Step]


async def change(services: Services, caller: Caller, uid: str, step: StepFrom) -> Step:
    """Take a step from the record as it is when it is written.

    Returns
    -------
    Step
        The cluster as recorded, with the events that told the change.

    Raises
    ------
    ClusterNotFound
        When there is none of that uid any more.
    LimitExceeded
        When the cluster would grow beyond its owner's quota.
    DaskdError
        What `step` raises; nothing is recorded then.
    """
    return await services.to_its_end(_change(services, caller, uid, step))


async def _change(services: Services, caller: Caller, uid: str, step: StepFrom) -> Step:
    told: list[NewEvent] = []

    def events(before: Cluster, _after: Cluster) -> Sequence[NewEvent]:
        told[:] = step(before).events
        return from_caller(told, caller)

    # a cluster that grows is counted and recorded in one, so that two calls can't both be the last to fit
    async with services.creating:
        now = await services.store.get(uid)
        if now is not None:
            await services.check_quotas(now, step(now).cluster)
        changed = await services.store.update(uid, lambda now: step(now).cluster, events=events)
        reached("desired.recorded")
        services.control.wake(uid)
    return Step(changed, tuple(told))


async def would_be(services: Services, cluster: Cluster, step: StepFrom) -> Step:
    """The same without recording anything.

    Raises
    ------
    LimitExceeded
        When the cluster would grow beyond its owner's quota.
    DaskdError
        What `step` raises.
    """
    planned = step(cluster)
    await services.check_quotas(cluster, planned.cluster)
    return planned
