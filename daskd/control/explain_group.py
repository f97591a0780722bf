"""Pure: why a worker group is as it is: who decides its size, what it waits for, what hinders it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from daskd.model import adaptive as words
from daskd.model.cluster import Adaptive, Group, Instance, Record, State
from daskd.model.event import Event
from daskd.model.views import GroupExplanation, WaitingView, WorkerState

from .adaptive.reasons import seconds
from .queueing import held_back
from .unmanned import in_words, unmanned
from .view import View
from .workers import INSTANCE_STATES


def explain_group(
    view: View, status: Group, decision: words.Decision | None, history: Sequence[Event], ready: int, now: float
) -> GroupExplanation:
    """Why a group is as it is.

    Parameters
    ----------
    decision
        The adaptive policy's last, if any.
    history
        The cluster's kept events, oldest first.
    ready
        Ready tasks that its workers could run.
    now
        Unix seconds.
    """
    nodes = [node for node in view.nodes if node.group == status.name and node.state is not State.ENDED]
    is_over = bool(view.cluster.stop) or view.cluster.ended is not None
    return GroupExplanation(
        name=status.name,
        target=0 if status.removing or is_over else status.desired,
        decided_by="removing" if status.removing else "adaptive" if status.adaptive is not None else "count",
        reasons=() if is_over else tuple(_reasons(view, status, nodes, decision, history, now)),
        ready_tasks=ready,
        waiting=_waiting(view, nodes),
    )


def _reasons(
    view: View,
    status: Group,
    nodes: Sequence[Instance],
    decision: words.Decision | None,
    history: Sequence[Event],
    now: float,
) -> Iterator[str]:
    if status.failures:
        yield _failing(status, now)
    if status.removing:
        yield "it is being removed: its workers' data moves, and they end"
    elif status.adaptive is not None:
        yield _decided(status.name, status.adaptive, decision)
    if (event := _set_by(status.name, history)) is not None:
        yield f"{event.actor}, {seconds(max(0.0, now - event.time))} ago: {event.message}"
    if view.scheduler is None or view.scheduler.joined is None:
        if status.desired:
            yield "its workers are launched once the scheduler is up"
        return
    spec = view.cluster.spec.group(status.name)
    if spec is not None and (words := held_back(status, spec, nodes, view.rooms.get(status.name))):
        yield words
    parts = {node.id: unmanned(node, spec, view.hub_workers) for node in nodes} if spec is not None else {}
    yield from _rotating([node for node in nodes if not parts.get(node.id)], now)
    yield from _in_part(nodes, parts)
    yield from _staying(view, nodes)


def _failing(status: Group, now: float) -> str:
    times = "the last launch failed" if status.failures == 1 else f"the last {status.failures} launches failed"
    again = "now" if status.retry_at is None or status.retry_at <= now else f"in {seconds(status.retry_at - now)}"
    message = status.message.strip()
    return f"{times}, the next try is {again}: {message}" if message else f"{times}, the next try is {again}"


def _decided(name: str, adaptive: Adaptive, decision: words.Decision | None) -> str:
    """What the policy said last; the record's words may be older, where only figures have moved since."""
    said = decision.groups.get(name) if decision is not None else None
    if said is not None:
        return said.reason
    return adaptive.reason or "nothing was decided yet: the scheduler has not said what there is to do"


def _set_by(name: str, history: Sequence[Event]) -> Event | None:
    """Who said last how large the group shall be, or how that is decided."""
    for event in reversed(history):
        if event.type == "CREATED" or (event.facts.get("group") == name and event.type != "ADAPTED_TO"):
            return event
    return None


def _rotating(nodes: Sequence[Instance], now: float) -> Iterator[str]:
    """Workers that others take the place of, for their time is nearly over: there may be more than are wanted."""
    ends = [
        (node.expected_end, name)
        for node in nodes
        if node.rotating is not None and node.expected_end is not None and node.stopping is None
        for name in node.workers
    ]
    if ends:
        end, name = min(ends)
        more = f" and {len(ends) - 1} more" if len(ends) > 1 else ""
        yield f"the walltime of {name}{more} is nearly over, in {seconds(max(0.0, end - now))}: others take their place"


def _in_part(nodes: Iterable[Instance], gone: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Instances of several nodes that are succeeded, for one is gone; `gone`: whose workers it was, by instance."""
    for node in nodes:
        if node.rotating is not None and node.stopping is None and (names := gone.get(node.id)):
            yield f"{in_words(names)} is gone with its node: another of {len(node.workers)} workers takes the place"


def _staying(view: View, nodes: Iterable[Instance]) -> Iterator[str]:
    """Workers that were asked to retire and refused."""
    for node in nodes:
        if node.retiring is not None or node.stopping is not None:
            continue
        for name in node.workers:
            worker = view.hub_workers.get(name)
            if worker is not None and worker.retire is not None and worker.retire.state == "refused":
                yield f"{name} was asked to retire and stays: {worker.retire.words}"


def _waiting(view: View, nodes: Iterable[Instance]) -> tuple[WaitingView, ...]:
    """What is on its way in or out, those alike together, the longest awaited first."""
    alike: dict[tuple[WorkerState, str], list[tuple[float, int]]] = {}
    for node in nodes:
        if (found := _of_node(view, node)) is not None:
            state, reason, since, workers = found
            alike.setdefault((state, reason), []).append((since, workers))
    waiting = [
        WaitingView(
            instances=len(some),
            workers=sum(workers for _, workers in some),
            state=state,
            reason=reason,
            since=min(since for since, _ in some),
        )
        for (state, reason), some in alike.items()
    ]
    return tuple(sorted(waiting, key=lambda item: (item.since or 0.0, item.reason)))


def _of_node(view: View, node: Instance) -> tuple[WorkerState, str, float, int] | None:
    """What a node waits for, since when, and how many of its workers do; None: for nothing."""
    here = [name for name in node.workers if name in view.hub_workers]
    if node.stopping is not None:
        return WorkerState.ENDING, node.words or "it was asked to end", node.stopping, len(node.workers)
    if node.retiring is not None:
        progress = [retire.words for name in here if (retire := view.hub_workers[name].retire) is not None]
        words = next(filter(None, progress), "its processes end" if not here else "its data moves")
        return WorkerState.RETIRING, words, node.retiring, len(node.workers)
    missing = len(node.workers) - len(here)
    if not missing:
        return None
    launched = node.launched or node.created
    if node.record in (Record.UNSURE, Record.ABANDONED):
        return WorkerState.UNKNOWN, node.words or "nobody knows whether it was launched", launched, missing
    state = INSTANCE_STATES[node.state]
    return state, node.words or _default(node, state), launched if node.joined is None else node.joined, missing


def _default(node: Instance, state: WorkerState) -> str:
    if node.joined is not None:
        return "it has run before, and is not at the scheduler now: its node starts it again"
    if state is WorkerState.QUEUED:
        return "the system has not started it yet"
    return "it starts, and has not reached the scheduler yet"
