"""Pure: what was observed becomes what is recorded. Nothing is decided here."""

from __future__ import annotations

from daskd.drivers.protocol import Observation, Wait
from daskd.model.cluster import Cause, End, Group, Held, Instance, Record, Role, State

from . import clock, failures, phase, queueing, rotation, scheduler_time, unmanned, unseen
from .ledger import Ledger
from .link import FactEvent, HubState, HubWorker
from .view import View

START_TIMES = 9

LOST_FOR = 60.0
"""What a system lost with its node, and was asked to end, has ended after so long, though nobody saw it."""

TOLD_WAITS = frozenset({Wait.HELD, Wait.LIMIT, Wait.HOPELESS})

UNPROVED = frozenset({Record.INTENDED, Record.UNSURE, Record.ABANDONED})
"""May have been launched, or not. No launch is under way while a pass absorbs, so what is still intended is unsure."""


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
    clock.set_back(ledger, now)
    is_heard = view.hub.state is not None and view.is_of_scheduler and _scheduler(ledger) is not None
    if is_heard:
        _adopt_heard(ledger, view)
    ends = []
    for instance in ledger.instances:
        seen = view.observations.get(instance.id)
        if seen is not None and _is_news(view, instance, now):
            end = _observed(ledger, view, instance, seen, now)
            if end is not None:
                ends.append((instance, seen, end))
    # what the hub said it said before the end of anything that the listing shows as ended
    scheduler = _scheduler(ledger)
    if is_heard and view.hub.state is not None and scheduler is not None:
        _hub(ledger, view, scheduler, view.hub.state, now)
    for instance, seen, end in sorted(ends, key=lambda item: item[0].role is not Role.SCHEDULER):
        _ended(ledger, view, instance, seen, end, now)
    unseen.give_up(ledger, view, now)
    _silence(ledger, view, now)
    _count(ledger, view, now)
    rotation.mark(ledger, view, now)
    scheduler_time.tell(ledger, view, now)
    unmanned.mark(ledger, view, now)
    _drop_removed(ledger)
    phase.settle(ledger, view, now)
    return ledger


def _scheduler(ledger: Ledger) -> Instance | None:
    return next((i for i in ledger.instances if i.role is Role.SCHEDULER and i.state is not State.ENDED), None)


def _adopt_heard(ledger: Ledger, view: View) -> None:
    """Whom the scheduler has heard was launched, whatever a listing knows."""
    heard = {worker.instance for worker in view.hub.state.workers} if view.hub.state else set()
    for instance in ledger.instances:
        if instance.role is Role.NODE and instance.id in heard:
            _adopt(ledger, instance)


def _is_news(view: View, instance: Instance, now: float) -> bool:
    # a listing says nothing about what was launched after it was begun, nor one of before the clock was set back
    return max(instance.created, instance.launched or 0.0) < view.listing(instance).begun <= now


def _is_heard(view: View, instance: Instance) -> bool:
    if not view.hears or view.hub.state is None:
        return False
    return instance.id == view.hub.instance or any(worker.instance == instance.id for worker in view.hub.state.workers)


def _observed(ledger: Ledger, view: View, instance: Instance, seen: Observation, now: float) -> End | None:
    """Record what a listing says of one instance; its certain end is handed back."""
    if seen.state is not State.ENDED:
        _alive(ledger, instance, seen, now)
        return None
    end = seen.end or End(Cause.VANISHED, words=seen.words)
    if end.cause is Cause.VANISHED and _is_heard(view, instance):
        # nobody vanished whom the scheduler hears
        end = End(Cause.VANISHED, words="its driver does not find it, and its scheduler hears it", certain=False)
        if instance.record in UNPROVED:
            return None
    if not end.certain and not _is_lost_for_good(view, instance, end, now):
        if instance.record is not Record.ABANDONED:  # one that is given up is not found again by that
            _adopt(ledger, instance)
        ledger.edit_instance(instance.id, state=State.UNKNOWN, words=end.words)
        return None
    if end.cause is Cause.VANISHED and instance.record in UNPROVED:
        _missing(ledger, view, instance, end, now)
        return None
    return end


def _is_lost_for_good(view: View, instance: Instance, end: End, now: float) -> bool:
    """Whether what may run on, on a node that its system lost, was asked to end and is out of sight for a minute.

    That is all that can be done: it was fenced, or its cluster ends.
    """
    if end.cause is not Cause.NODE_LOST or instance.stopping is None:
        return False
    since = instance.stopping if instance.unknown_since is None else instance.unknown_since
    return now - since >= LOST_FOR and not _is_heard(view, instance)


def _alive(ledger: Ledger, instance: Instance, seen: Observation, now: float) -> None:
    if instance.record in UNPROVED and seen.state is State.UNKNOWN:
        return
    _adopt(ledger, instance)
    _tell_wait(ledger, instance, seen)
    started = instance.started
    if seen.state is State.RUNNING and started is None:
        started = now if seen.started is None else min(seen.started, now)
    expected_end, rotating = rotation.expected_end(instance.expected_end, seen.expected_end), instance.rotating
    if seen.state is State.QUEUED:
        # its system has put it back into the line, to begin anew
        expected_end = rotating = None
    if instance.role is Role.SCHEDULER and seen.report is not None and seen.report.link:
        ledger.edit_scheduler(link=seen.report.link)
    # of what was asked to end, the driver's word why it did not stands until there is another
    words = seen.words or (instance.words if instance.stopping is not None else "")
    ledger.edit_instance(
        instance.id,
        state=seen.state,
        host=seen.host or instance.host,
        pid=seen.pid or instance.pid,
        words=words,
        started=started,
        expected_end=expected_end,
        rotating=rotating,
    )


def _tell_wait(ledger: Ledger, instance: Instance, seen: Observation) -> None:
    """What waits for more than its turn is told, once."""
    if seen.wait in TOLD_WAITS and seen.words != instance.words:
        what = ", ".join(instance.workers) or "the scheduler"
        ledger.tell("INSTANCE_WAITS", f"{what} {seen.words}", instance=instance.id, wait=seen.wait.value)


def _adopt(ledger: Ledger, instance: Instance) -> None:
    """What may have been launched was. One that was given up and asked to end stays given up."""
    given_up = instance.record is Record.ABANDONED and instance.stopping is not None
    if instance.record not in UNPROVED or given_up:
        return
    launched = instance.launched or instance.created
    ledger.edit_instance(instance.id, record=Record.ACCEPTED, launched=launched)
    ledger.tell("INSTANCE_ADOPTED", f"found again what was launched as {instance.id}", instance=instance.id)


def _missing(ledger: Ledger, view: View, instance: Instance, end: End, now: float) -> None:
    """It is not there. A node lives on as given up until it is fenced, lest it join when another took its place."""
    listing = view.listing(instance)
    if listing.begun < max(instance.created, instance.launched or 0.0) + listing.settle:
        return
    if instance.record is not Record.ABANDONED:
        words = f"{instance.id}, which may have been launched, was not found"
        ledger.tell("INSTANCE_ABANDONED", f"{words} and is given up", instance=instance.id)
        ledger.edit_instance(instance.id, record=Record.ABANDONED, state=State.UNKNOWN, words=words)
        failures.abandoned(ledger, view, instance, now)
    if instance.role is Role.SCHEDULER or instance.stopping is not None:
        ledger.edit_instance(instance.id, state=State.ENDED, end=end, ended=now)


def _ended(ledger: Ledger, view: View, instance: Instance, seen: Observation, end: End, now: float) -> None:
    _adopt(ledger, instance)
    when = max(instance.created, min(seen.ended or now, now))
    # a scheduler that waited in vain, and was ended for it, is told of in the words that it waited with
    in_vain = instance.role is Role.SCHEDULER and instance.joined is None and instance.stopping is not None
    words = (instance.words if in_vain else "") or end.words
    ended = ledger.edit_instance(instance.id, state=State.ENDED, end=end, ended=when, words=words, pid=None)
    if instance.role is Role.SCHEDULER:
        failures.scheduler_ended(ledger, view, ended, seen, now)
    else:
        failures.node_ended(ledger, view, ended, seen, now)


def _hub(ledger: Ledger, view: View, scheduler: Instance, state: HubState, now: float) -> None:
    known = ledger.cluster
    if scheduler.joined is None:
        scheduler = ledger.edit_instance(scheduler.id, joined=now)
        started = now
    else:
        started = known.scheduler.started or now
    ledger.edit_scheduler(
        instance=scheduler.id,
        address=state.address or known.scheduler.address,
        dashboard=state.dashboard or "",
        host=scheduler.host or "localhost",
        pid=scheduler.pid,
        started=started,
        versions=dict(view.hub.versions) or known.scheduler.versions,
        resumable=state.resumable.answer,
        unresumable=state.resumable.words,
    )
    ledger.edit(
        held=Held(state.held.clients, state.held.keys, state.held.bytes),
        idle_since=_idle_since(state.idle_since, known.idle_since, now),
    )
    here: dict[str, list[HubWorker]] = {}
    for worker in state.workers:
        here.setdefault(worker.instance or "", []).append(worker)
    for node in ledger.instances:
        if node.role is Role.NODE and node.state is not State.ENDED and node.id in here:
            _here(ledger, node, here[node.id], now)
    for event in state.events:
        if event.seq > ledger.cluster.event_seq:
            _forward(ledger, view, event, now)


def _idle_since(said: float | None, known: float | None, now: float) -> float | None:
    if said is None or said <= now:
        return said
    # another clock than ours
    return now if known is None else min(known, now)


def _here(ledger: Ledger, node: Instance, workers: list[HubWorker], now: float) -> None:
    if node.joined is not None:
        return
    launched = min(node.launched or node.created, now)
    # by the scheduler's clock, as far as it can be: the daemon may not have been there
    joined = min([worker.since for worker in workers if worker.since is not None], default=now)
    joined = max(launched, min(joined, now))
    ledger.edit_instance(node.id, joined=joined)
    group = ledger.cluster.group(node.group)
    times = (*group.start_times, joined - launched)[-START_TIMES:]
    ledger.edit_group(node.group, start_times=times, last_join=joined)


def _forward(ledger: Ledger, view: View, event: FactEvent, now: float) -> None:
    ledger.edit(event_seq=event.seq)
    if event.type == "retire-refused":
        return  # the answer to the call said so, and was told
    facts = {name[:100]: str(value) for name, value in event.facts.items() if name != "type"}
    ledger.tell(event.type.upper().replace("-", "_")[:60], event.words, **facts)
    if event.type == "worker-failed":
        failures.worker_failed(ledger, view, str(event.facts.get("instance", "")), event.words, now)


def _silence(ledger: Ledger, view: View, now: float) -> None:
    scheduler, alive = ledger.cluster.scheduler, _scheduler(ledger)
    if alive is None or not view.is_of_scheduler or alive.joined is None or alive.stopping is not None:
        return
    # a daemon that just started has not asked yet: that is no silence
    if not view.hub.connected and scheduler.heard is None and (view.hub.state is not None or view.hub.trouble):
        ledger.edit_scheduler(heard=now if view.hub.heard is None else view.hub.heard)
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
    workers = view.hub_workers if _scheduler(ledger) is not None else {}
    for group in ledger.cluster.groups:
        pending = running = ending = 0
        nodes = [i for i in ledger.instances if i.group == group.name and i.state is not State.ENDED]
        for node in nodes:
            if node.role is not Role.NODE:
                continue
            here = sum(name in workers for name in node.workers)
            if node.stopping or node.retiring:
                # until its process has ended, whether or not they have left the scheduler
                ending += len(node.workers)
            else:
                running += here
                pending += len(node.workers) - here
        ledger.edit_group(group.name, pending=pending, running=running, ending=ending)
        if group.failures and failures.is_overcome(ledger, view, group.name, nodes, now):
            ledger.edit_group(group.name, failures=0, retry_at=None, message="")
        elif not group.failures:
            _tell_held_back(ledger, view, group, nodes, is_settled=pending == 0)


def _tell_held_back(ledger: Ledger, view: View, group: Group, nodes: list[Instance], *, is_settled: bool) -> None:
    """The message of a group that nothing is wrong with: who waits for room, else none once all are there."""
    spec = ledger.cluster.spec.group(group.name)
    words = queueing.held_back(group, spec, nodes, view.rooms.get(group.name)) if spec is not None else ""
    if words or (group.message and (is_settled or queueing.is_told(group.message))):
        ledger.edit_group(group.name, message=words)


def _drop_removed(ledger: Ledger) -> None:
    """A group that is being removed is no more once nothing of it runs, or may run."""
    if ledger.cluster.stop:
        return
    alive = {instance.group for instance in ledger.instances if instance.state is not State.ENDED}
    gone = [group for group in ledger.cluster.groups if group.removing and group.name not in alive]
    for group in gone:
        cluster = ledger.cluster
        specs = tuple(spec for spec in cluster.spec.groups if spec.name != group.name)
        ledger.edit(
            groups=tuple(each for each in cluster.groups if each.name != group.name),
            spec=cluster.spec.model_copy(update={"groups": specs}),
            had_workers=cluster.had_workers or bool(group.start_times),
        )
        ledger.tell("GROUP_REMOVED", f"group {group.name!r} is gone", group=group.name)
