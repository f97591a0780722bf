"""Pure: the workers of a cluster, from what is recorded and what its scheduler last said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from daskd.model.cluster import Cluster, Instance, Record, Role, State
from daskd.model.views import WorkerState, WorkerView

from .link import HubWorker

_HUB_STATES = {"running": WorkerState.RUNNING, "paused": WorkerState.PAUSED}

INSTANCE_STATES = {
    State.QUEUED: WorkerState.QUEUED,
    State.STARTING: WorkerState.STARTING,
    State.RUNNING: WorkerState.STARTING,
    State.PAUSED: WorkerState.PAUSED,
    State.ENDING: WorkerState.ENDING,
    State.ENDED: WorkerState.ENDED,
    State.UNKNOWN: WorkerState.UNKNOWN,
}
"""Of a worker that is not at the scheduler, by its instance's state."""


def views(cluster: Cluster, instances: Iterable[Instance], hub: Mapping[str, HubWorker]) -> list[WorkerView]:
    """Every worker of these instances, and those at the scheduler that somebody else brought."""
    shown = []
    ours = set()
    for instance in instances:
        if instance.role is not Role.NODE or instance.record in (Record.REFUSED, Record.ABANDONED):
            continue
        for name in instance.workers:
            ours.add(name)
            shown.append(_view(cluster, instance, name, hub.get(name)))
    shown += [_foreign(worker) for name, worker in hub.items() if name not in ours]
    return shown


def _state(instance: Instance, worker: HubWorker | None) -> WorkerState:
    if instance.state is State.ENDED:
        return WorkerState.ENDED
    if instance.stopping is not None:
        return WorkerState.ENDING
    if instance.retiring is not None:
        return WorkerState.RETIRING
    if worker is None:
        return INSTANCE_STATES[instance.state]
    return _HUB_STATES.get(worker.status, WorkerState.ENDING)


def _view(cluster: Cluster, instance: Instance, name: str, worker: HubWorker | None) -> WorkerView:
    spec = cluster.spec.group(instance.group)
    limit = spec.memory_limit if spec and spec.memory_limit != "auto" else 0
    live = worker if instance.state is not State.ENDED else None
    return WorkerView(
        name=name,
        group=instance.group,
        instance=instance.id,
        driver=instance.handle.driver,
        state=_state(instance, live),
        address=live.address if live else "",
        host=(live.host if live else "") or instance.host,
        pid=(live.pid if live else None) or instance.pid,
        nthreads=live.nthreads if live else (spec.nthreads if spec else 0),
        memory_limit_bytes=live.memory_limit if live else limit,
        memory_bytes=live.memory if live else 0,
        managed_bytes=live.managed if live else 0,
        processing=live.processing if live else 0,
        executing=live.executing if live else 0,
        resources=dict(live.resources if live else (spec.resources if spec else {})),
        launched=instance.launched,
        joined=instance.joined,
        ended=instance.ended,
        end=instance.end,
        message=instance.words,
        expected_end=None if instance.state is State.ENDED else instance.expected_end,
    )


def _foreign(worker: HubWorker) -> WorkerView:
    return WorkerView(
        name=worker.name,
        group="",
        instance="",
        driver="",
        state=_HUB_STATES.get(worker.status, WorkerState.ENDING),
        address=worker.address,
        host=worker.host,
        pid=worker.pid,
        nthreads=worker.nthreads,
        memory_limit_bytes=worker.memory_limit,
        memory_bytes=worker.memory,
        managed_bytes=worker.managed,
        processing=worker.processing,
        executing=worker.executing,
        resources=dict(worker.resources),
        joined=worker.since,
        message="not launched by the daemon",
    )
