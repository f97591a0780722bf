"""Pure: what was observed becomes what is recorded. Nothing is decided here."""

from __future__ import annotations

from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, End, Held, Instance, Record, Role, State

from . import failures, phase
from .ledger import Ledger
from .link import FactEvent, HubState
from .view import View

START_TIMES = 9


def absorb(view: View, now: float) -> Ledger:
    """The record with all that was observed.

    Parameters
    ----------
    view
        The record, and what was observed since its last act.
    now
        Unix seconds.
    """
    ledger = Ledger(view.cluster, view.instances)
    for instance in view.instances:
        observation = view.observations.get(instance.id)
        if observation is not None and _is_news(view, instance):
            _observed(ledger, view, instance, observation, now)
    if view.hub.state is not None and view.scheduler is not None and view.hub.instance == view.scheduler.id:
        _hub(ledger, view, view.hub.state, now)
    _silence(ledger, view)
    _count(ledger, view, now)
    phase.settle(ledger, view, now)
    return ledger


def _is_news(view: View, instance: Instance) -> bool:
    # a listing says nothing about what was launched after it was begun
    return view.observed > max(instance.created, instance.launched or 0.0)


def _observed(ledger: Ledger, view: View, instance: Instance, seen: Observation, now: float) -> None:
    if instance.record is Record.UNSURE:
        if seen.state is State.ENDED and seen.end is not None and seen.end.cause is Cause.VANISHED:
            ledger.edit_instance(
                instance.id, record=Record.ABANDONED, state=State.ENDED, end=seen.end, ended=now, words="never launched"
            )
            return
        instance = ledger.edit_instance(instance.id, record=Record.ACCEPTED, launched=instance.launched or now)
        ledger.tell("INSTANCE_ADOPTED", f"found again what was launched as {instance.id}", instance=instance.id)
    if seen.state is not State.ENDED:
        ledger.edit_instance(
            instance.id, state=seen.state, host=seen.host or instance.host, pid=seen.pid, words=seen.words
        )
        return
    end = seen.end or End(Cause.VANISHED, words=seen.words)
    if not end.certain:
        ledger.edit_instance(instance.id, state=State.UNKNOWN, words=end.words)
        return
    ended = ledger.edit_instance(
        instance.id, state=State.ENDED, end=end, ended=seen.ended or now, words=end.words, pid=None
    )
    if instance.role is Role.SCHEDULER:
        failures.scheduler_ended(ledger, view, ended, seen, now)
    else:
        failures.node_ended(ledger, view, ended, seen, now)


def _hub(ledger: Ledger, view: View, state: HubState, now: float) -> None:
    scheduler = view.scheduler
    assert scheduler is not None
    if scheduler.joined is None:
        ledger.edit_instance(scheduler.id, joined=now)
        started = now
    else:
        started = view.cluster.scheduler.started or now
    ledger.edit_scheduler(
        instance=scheduler.id,
        address=state.address or view.cluster.scheduler.address,
        dashboard=state.dashboard or "",
        host=scheduler.host or "localhost",
        pid=scheduler.pid,
        started=started,
        versions=dict(view.hub.versions) or view.cluster.scheduler.versions,
    )
    ledger.edit(
        held=Held(state.held.clients, state.held.keys, state.held.bytes),
        idle_since=None if state.idle_since is None else min(state.idle_since, now),
    )
    here = {worker.instance for worker in state.workers}
    for node in view.nodes:
        if node.joined is None and node.id in here:
            _joined(ledger, node, now)
    for event in state.events:
        if event.seq > ledger.cluster.event_seq:
            _forward(ledger, view, event, now)


def _joined(ledger: Ledger, node: Instance, now: float) -> None:
    ledger.edit_instance(node.id, joined=now)
    took = now - (node.launched or now)
    group = ledger.cluster.group(node.group)
    ledger.edit_group(node.group, start_times=(*group.start_times, took)[-START_TIMES:])


def _forward(ledger: Ledger, view: View, event: FactEvent, now: float) -> None:
    ledger.edit(event_seq=event.seq)
    facts = {name[:100]: str(value)[:1000] for name, value in event.facts.items() if name != "type"}
    ledger.tell(event.type.upper().replace("-", "_")[:60], event.words, **_safe(facts))
    if event.type == "worker-failed":
        failures.worker_failed(ledger, view, str(event.facts.get("instance", "")), event.words, now)


def _safe(facts: dict[str, str]) -> dict[str, str]:
    # a fact may be called like one of tell()'s own arguments
    return {(f"{name}_" if name in ("type_", "message") else name): value for name, value in facts.items()}


def _silence(ledger: Ledger, view: View) -> None:
    scheduler = ledger.cluster.scheduler
    if view.scheduler is None or view.hub.instance != view.scheduler.id or view.hub.state is None:
        return
    if not view.hub.connected and scheduler.heard is None:
        ledger.edit_scheduler(heard=view.hub.heard)
        ledger.tell(
            "SCHEDULER_SILENT",
            f"the scheduler does not answer the daemon: {view.hub.trouble}. It may be busy with a large graph or with "
            "somebody's code; nothing is ended for it",
            trouble=view.hub.trouble,
        )
    elif view.hub.connected and scheduler.heard is not None:
        ledger.edit_scheduler(heard=None)
        ledger.tell("SCHEDULER_HEARD", "the scheduler answers again")


def _count(ledger: Ledger, view: View, now: float) -> None:
    workers = view.hub_workers
    for group in ledger.cluster.groups:
        pending = running = ending = 0
        settled = False
        for node in ledger.instances:
            if node.group != group.name or node.role is not Role.NODE or node.state is State.ENDED:
                continue
            here = sum(name in workers for name in node.workers)
            if node.stopping or node.retiring:
                ending += here if node.joined else len(node.workers)
            else:
                running += here
                pending += len(node.workers) - here
            settled |= node.joined is not None and now - node.joined >= view.settings.settled
        changes: dict[str, object] = {"pending": pending, "running": running, "ending": ending}
        if group.failures and settled:
            changes |= {"failures": 0, "retry_at": None, "message": ""}
        elif group.message and not group.failures and pending == 0:
            changes["message"] = ""
        ledger.edit_group(group.name, **changes)
