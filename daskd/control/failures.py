"""Pure: what an end means. Whether it counts as a failure, what is told, and when to try again."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Instance, Role
from daskd.model.spec import OnSchedulerLoss

from .backoff import delay
from .ledger import Ledger
from .settings import Settings
from .view import View

NOT_OURS = frozenset({Cause.PREEMPTED, Cause.NODE_LOST, Cause.TIME_LIMIT, Cause.CANCELLED})
"""Ends that say nothing about whether the next one will do better."""

SPEC_DAMAGED, NO_DISTRIBUTED, FENCED, SCHEDULER_GONE, INCOMPATIBLE = 80, 81, 83, 85, 86
"""Exit codes of the runtime (`docs/runtime.md`)."""

LASTING = frozenset({SPEC_DAMAGED, NO_DISTRIBUTED, INCOMPATIBLE})


def describe(instance: Instance) -> str:
    """How an instance ended, in words."""
    end = instance.end
    if end is None:
        return "it ended"
    if end.words:
        return end.words
    if end.signal is not None:
        return f"it was ended by signal {end.signal}"
    return f"it exited with code {end.code}" if end.code is not None else f"it ended: {end.cause.value}"


def is_lasting(instance: Instance) -> bool:
    """Whether the same launch would fail the same way: no such Python, none or an unfit `distributed` in it."""
    end = instance.end
    return end is not None and (end.cause is Cause.FAILED_TO_START or end.code in LASTING)


def _with_tail(words: str, tail: str) -> str:
    return f"{words}\n{tail}" if tail else words


def scheduler_ended(ledger: Ledger, view: View, ended: Instance, seen: Observation, now: float) -> None:
    """The scheduler's process is gone."""
    cluster = ledger.cluster
    if cluster.stop:
        return
    if seen.goodbye:
        ledger.edit(stop=f"shut down by {seen.goodbye}")
        ledger.tell("SHUT_DOWN", f"{seen.goodbye} told the scheduler to end", by=seen.goodbye)
        return
    was_running = ended.joined is not None
    # what was ended before it came up, for it waited in vain, failed of that and not of its end
    words = ended.words if ended.stopping is not None and not was_running and ended.words else describe(ended)
    failure = seen.report.failure if seen.report else ""
    told = _with_tail(failure or words, view.tails.get(ended.id, ""))
    if is_lasting(ended) and not was_running:
        fail(ledger, f"its scheduler can't be started: {told}")
        return
    bound = view.settings.max_scheduler_restarts if was_running else view.settings.max_launch_failures - 1
    if was_running and cluster.spec.on_scheduler_loss is OnSchedulerLoss.FAIL:
        fail(ledger, f"its scheduler ended unasked, and it is not to go on then: {told}")
        return
    if not _restart(ledger, view.settings, told, bound, now):
        return
    if was_running and cluster.scheduler.resumable:
        _tell_resumption(ledger, words, view.tails.get(ended.id, ""), ended)
    elif was_running:
        _tell_loss(ledger, view, words, ended)
    else:
        ledger.tell("SCHEDULER_START_FAILED", f"the scheduler failed to start: {told}", instance=ended.id)


def _restart(ledger: Ledger, settings: Settings, told: str, bound: int, now: float) -> bool:
    """Record that the scheduler is started again; False, and FAILED, if it was too often within the window."""
    recent = tuple(t for t in ledger.cluster.scheduler.restarts if now - t < settings.restart_window)
    if len(recent) >= bound:
        fail(ledger, f"its scheduler ended {len(recent) + 1} times in a row; the last time: {told}")
        return False
    ledger.edit_scheduler(restarts=(*recent, now), started=None, pid=None, heard=None, link="")
    ledger.edit(idle_since=None, event_seq=0)
    return True


def scheduler_refused(
    ledger: Ledger, settings: Settings, told: str, *, lasting: bool, now: float, full: bool = False
) -> None:
    """The driver refused to launch the scheduler: tried again, unless the same request will be refused again.

    One that was refused for want of room, which there may be later, is tried again however often it was; so is one
    that ran already where a driver placed it: its hosts may be slow to answer for a while.
    """
    scheduler = ledger.cluster.scheduler
    may_pass = full or (ledger.cluster.spec.scheduler.is_placed and scheduler.address != "")
    if lasting:
        fail(ledger, f"its scheduler can't be launched: {told}")
    else:
        _restart(ledger, settings, told, sys.maxsize if may_pass else settings.max_launch_failures - 1, now)


def abandoned(ledger: Ledger, view: View, instance: Instance, now: float) -> None:
    """What may have been launched was not. A driver that erred failed; a daemon that ended before it asked did not.

    Parameters
    ----------
    instance
        As it was before it was given up: its words are the driver's.
    """
    if ledger.cluster.stop or instance.launched is None:
        return
    what = ", ".join(instance.workers) or "the scheduler"
    told = f"{what} could not be launched: {instance.words or 'the driver did not say why'}"
    if instance.role is Role.SCHEDULER:
        if _restart(ledger, view.settings, told, view.settings.max_launch_failures - 1, now):
            ledger.tell("SCHEDULER_START_FAILED", told, instance=instance.id)
        return
    count_failure(ledger, instance.group, told, now)
    ledger.tell("WORKER_START_FAILED", told, workers=what, instance=instance.id)
    give_up_if_hopeless(ledger, instance.group, bound=view.settings.max_launch_failures)


def _tell_resumption(ledger: Ledger, words: str, tail: str, ended: Instance) -> None:
    """What comes back, and what does not, its successor tells."""
    told = f"the scheduler ended unasked: {words}. It is started again at the same address, and goes on with its work"
    ledger.tell("SCHEDULER_LOST", _with_tail(told, tail), instance=ended.id)


def _tell_loss(ledger: Ledger, view: View, words: str, ended: Instance) -> None:
    state = view.hub.state if view.hub.instance == ended.id else None
    tasks = sum(count for name, count in state.tasks.items() if name != "released") if state else None
    held = ledger.cluster.held
    lost = "the tasks that it had and their results" if tasks is None else f"{tasks} tasks and their results"
    if held.keys:
        lost += f", among them {held.keys} keys held for {held.clients} lost clients"
    where = "at another address" if ledger.cluster.spec.scheduler.is_placed else "at the same address"
    ledger.tell(
        "SCHEDULER_LOST",
        f"the scheduler ended unasked: {words}. It is started again {where}, empty: {lost} are lost",
        instance=ended.id,
        tasks="unknown" if tasks is None else tasks,
        held_keys=held.keys,
    )
    ledger.edit(held=type(held)())


def node_ended(ledger: Ledger, view: View, ended: Instance, seen: Observation, now: float) -> None:
    """A node is gone."""
    if ledger.cluster.stop:
        return
    names = ", ".join(ended.workers)
    if ended.retiring is not None:
        _retired(ledger, ended, names)
        return
    if ended.stopping is not None:
        return
    words = describe(ended)
    end = ended.end
    is_of_system = end is not None and end.cause in NOT_OURS
    if ended.joined is not None or is_of_system:
        ledger.tell("WORKER_LOST", f"{names} ended unasked: {words}. It is replaced", workers=names, instance=ended.id)
    innocent = is_of_system or (end is not None and end.code in (SCHEDULER_GONE, FENCED))
    lived = 0.0 if ended.joined is None else (ended.ended or now) - ended.joined
    if innocent or lived >= view.settings.settled:
        return
    failure = seen.report.failure if seen.report else ""
    told = _with_tail(failure or words, view.tails.get(ended.id, ""))
    count_failure(ledger, ended.group, f"{names} failed: {told}", now)
    if ended.joined is None:
        ledger.tell("WORKER_START_FAILED", f"{names} failed to start: {told}", workers=names, instance=ended.id)
        if is_lasting(ended):
            give_up_if_hopeless(ledger, ended.group, bound=1)
            return
    give_up_if_hopeless(ledger, ended.group, bound=view.settings.max_launch_failures)


def _retired(ledger: Ledger, ended: Instance, names: str) -> None:
    end = ended.end
    is_clean = end is not None and end.cause is Cause.EXITED and not end.code
    if is_clean or ended.stopping is not None:
        if ended.rotating is not None:
            words = f"{names} retired before its time was over: others have its work and its data"
            ledger.tell("ROTATED", words, workers=names, instance=ended.id)
        else:
            ledger.tell("WORKER_RETIRED", f"{names} retired", workers=names, instance=ended.id)
        return
    words = f"{names} ended before its data had moved: {describe(ended)}"
    ledger.tell("WORKER_LOST", words, workers=names, instance=ended.id)


def worker_failed(ledger: Ledger, view: View, instance: str, words: str, now: float) -> None:
    """A node says that one of its workers can't be kept up."""
    node = next((known for known in ledger.instances if known.id == instance and known.role is Role.NODE), None)
    if node is not None and not (node.stopping or node.retiring or ledger.cluster.stop):
        count_failure(ledger, node.group, words, now)
        give_up_if_hopeless(ledger, node.group, bound=view.settings.max_launch_failures)


def count_failure(ledger: Ledger, group: str, words: str, now: float) -> None:
    """One more failure in a row: the next launch waits longer."""
    failures = ledger.cluster.group(group).failures + 1
    retry_at = now + _wait(ledger, group, failures)
    ledger.edit_group(group, failures=failures, retry_at=retry_at, message=words[:4000])


def _wait(ledger: Ledger, group: str, failures: int) -> float:
    return delay(failures, f"{ledger.cluster.uid}/{group}")


def is_overcome(ledger: Ledger, view: View, group: str, nodes: Iterable[Instance], now: float) -> bool:
    """Whether a group's failures are over: by a success that came after them, not by what ran all along.

    Parameters
    ----------
    nodes
        The group's, as far as they have not ended.
    """
    state, settled = ledger.cluster.group(group), view.settings.settled
    failed_at = (state.retry_at or 0.0) - _wait(ledger, group, state.failures)
    is_whole = state.running >= state.desired and now - failed_at >= settled
    return any(
        node.joined is not None
        and now - node.joined >= settled
        and (is_whole or (node.launched or node.created) >= failed_at)
        for node in nodes
    )


def give_up_if_hopeless(ledger: Ledger, group: str, bound: int) -> None:
    """FAILED, if a group failed so often and the cluster never had a worker. One that had goes on trying."""
    state = ledger.cluster.group(group)
    if state.failures < bound or state.removing:
        return
    ever = ledger.cluster.had_workers or any(other.start_times for other in ledger.cluster.groups)
    if not ever:
        times = f"{state.failures} times in a row" if state.failures > 1 else "and would again"
        fail(ledger, f"group {group!r} failed to start {times}: {state.message}")


def fail(ledger: Ledger, message: str) -> None:
    """The cluster can't be kept up: end what there is of it and rest as FAILED. One that shall end anyway just ends."""
    if ledger.cluster.stop:
        return
    ledger.edit(stop=message.splitlines()[0][:1000] or "failed", failed=True, message=message[:8000])
    ledger.tell("FAILED", message)
