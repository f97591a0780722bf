"""Pure: what an end means. Whether it counts as a failure, what is told, and when to try again."""

from __future__ import annotations

from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Instance

from .backoff import delay
from .ledger import Ledger
from .view import View

NOT_OURS = frozenset({Cause.PREEMPTED, Cause.NODE_LOST, Cause.TIME_LIMIT, Cause.CANCELLED})
"""Ends that say nothing about whether the next one will do better."""

SPEC_DAMAGED, NO_DISTRIBUTED, FENCED, SCHEDULER_GONE = 80, 81, 83, 85
"""Exit codes of the runtime (`docs/runtime.md`)."""

LASTING = frozenset({SPEC_DAMAGED, NO_DISTRIBUTED})


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
    """Whether the same launch would fail the same way: there is no such Python, or it lacks `distributed`."""
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
    words = describe(ended)
    recent = tuple(t for t in cluster.scheduler.restarts if now - t < view.settings.restart_window)
    was_running = ended.joined is not None
    failure = seen.report.failure if seen.report else ""
    told = _with_tail(failure or words, view.tails.get(ended.id, ""))
    if is_lasting(ended) and not was_running:
        fail(ledger, f"its scheduler can't be started: {told}")
        return
    bound = view.settings.max_scheduler_restarts if was_running else view.settings.max_launch_failures - 1
    if len(recent) >= bound:
        fail(ledger, f"its scheduler ended {len(recent) + 1} times in a row; the last time: {told}")
        return
    ledger.edit_scheduler(restarts=(*recent, now), started=None, pid=None, heard=None)
    ledger.edit(idle_since=None, event_seq=0)
    if was_running:
        _tell_loss(ledger, view, words, ended)
    else:
        ledger.tell("SCHEDULER_START_FAILED", f"the scheduler failed to start: {told}", instance=ended.id)


def _tell_loss(ledger: Ledger, view: View, words: str, ended: Instance) -> None:
    state = view.hub.state
    tasks = sum(count for name, count in state.tasks.items() if name != "released") if state else 0
    held = ledger.cluster.held
    lost = f"{tasks} tasks and their results"
    if held.keys:
        lost += f", among them {held.keys} keys held for {held.clients} lost clients"
    ledger.tell(
        "SCHEDULER_LOST",
        f"the scheduler ended unasked: {words}. It is started again at the same address, empty: {lost} are lost",
        instance=ended.id,
        tasks=tasks,
        held_keys=held.keys,
    )
    ledger.edit(held=type(held)())


def node_ended(ledger: Ledger, view: View, ended: Instance, seen: Observation, now: float) -> None:
    """A node is gone."""
    if ledger.cluster.stop or ended.stopping:
        return
    words = describe(ended)
    names = ", ".join(ended.workers)
    if ended.retiring:
        ledger.tell("WORKER_RETIRED", f"{names} retired", workers=names, instance=ended.id)
        return
    end = ended.end
    code = end.code if end else None
    innocent = (end is not None and end.cause in NOT_OURS) or code in (SCHEDULER_GONE, FENCED)
    if ended.joined is not None:
        ledger.tell("WORKER_LOST", f"{names} ended unasked: {words}. It is replaced", workers=names, instance=ended.id)
    short_lived = ended.joined is None or now - ended.joined < view.settings.settled
    if innocent or not short_lived:
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


def worker_failed(ledger: Ledger, view: View, instance: str, words: str, now: float) -> None:
    """A node says that one of its workers can't be kept up."""
    node = next((known for known in ledger.instances if known.id == instance), None)
    if node is not None and not (node.stopping or node.retiring):
        count_failure(ledger, node.group, words, now)
        give_up_if_hopeless(ledger, node.group, bound=view.settings.max_launch_failures)


def count_failure(ledger: Ledger, group: str, words: str, now: float) -> None:
    """One more failure in a row: the next launch waits longer."""
    failures = ledger.cluster.group(group).failures + 1
    retry_at = now + delay(failures, f"{ledger.cluster.uid}/{group}")
    ledger.edit_group(group, failures=failures, retry_at=retry_at, message=words[:4000])


def give_up_if_hopeless(ledger: Ledger, group: str, bound: int) -> None:
    """FAILED, if a group failed so often and the cluster never had a worker. One that had goes on trying."""
    state = ledger.cluster.group(group)
    if state.failures < bound:
        return
    ever = any(other.start_times for other in ledger.cluster.groups)
    if not ever:
        times = f"{state.failures} times in a row" if state.failures > 1 else "and would again"
        fail(ledger, f"group {group!r} failed to start {times}: {state.message}")


def fail(ledger: Ledger, message: str) -> None:
    """The cluster can't be kept up: end what there is of it and rest as FAILED."""
    ledger.edit(stop=message.splitlines()[0][:1000] or "failed", failed=True, message=message[:8000])
    ledger.tell("FAILED", message)
