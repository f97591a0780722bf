"""Pure: what to do next, from the record and what was observed. `decide` has no I/O, no clock, no chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Instance, Record, State
from daskd.model.spec import WorkerGroupSpec

from . import rotation
from .adaptive import choose_victims
from .candidates import candidate, rows
from .clock import is_over
from .view import View

JOIN_PATIENCE = 30.0
"""Beyond the node's own join timeout, before a node without a worker is ended."""

FORCE_AFTER = 10.0
"""Beyond the grace, before an end is forced."""

FORCE_EVERY = 300.0
ASK_EVERY = 10.0
REFUSED_FOR = 30.0
HOPELESS_FOR = 60.0
"""What will never run is ended after so long: a system may say so for a moment, as while its nodes come up."""

NODES_FIRST = 3.0
"""A cluster's scheduler is asked to end when its nodes have ended, or after so long."""


@dataclass(frozen=True, slots=True)
class LaunchScheduler:
    """Launch the scheduler; `address` is the one it had before, if it shall have it again."""

    address: str


@dataclass(frozen=True, slots=True)
class LaunchNodes:
    """Launch that many instances of a group."""

    group: str
    count: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End what has not joined yet: fenced first, lest it join meanwhile."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retire:
    """Begin, or go on with, the retirement of all workers of these instances.

    `is_late`: their time is nearly over, and no others have come yet.
    """

    ids: tuple[str, ...]
    if_idle_rev: int | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the driver for their end. `fault`: words of a launch failure that this is, else empty."""

    ids: tuple[str, ...]
    force: bool = False
    fault: str = ""


Action = LaunchScheduler | LaunchNodes | Cancel | Retire | Terminate


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom the adaptive policy lets go, by instance id; `rev` is the snapshot's that it saw.

    Of those to drain `busy` had work then: they are drained of it, where an idle one that got some since stays.
    """

    groups: frozenset[str] = frozenset()
    cancel: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    busy: frozenset[str] = frozenset()
    rev: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and after how many seconds to look again at the latest."""

    actions: tuple[Action, ...]
    again: float


def decide(view: View, chosen: Chosen, now: float) -> Plan:
    """What to do next.

    Parameters
    ----------
    chosen
        The adaptive policy's choice for the groups it names; other groups follow their desired count.
    now
        Unix seconds.
    """
    if view.cluster.ended is not None:
        return Plan((), 60.0)
    actions = list(_forced(view, now))
    if view.cluster.stop:
        actions += _ending(view, now)
        return Plan(tuple(actions), 0.5)
    actions += _scheduler(view, now)
    scheduler = view.scheduler
    if scheduler is not None and _takes_nodes(view, scheduler):
        for spec in view.cluster.spec.groups:
            actions += _group(view, spec, chosen, now)
    return Plan(tuple(actions), _again(view, now))


def _takes_nodes(view: View, scheduler: Instance) -> bool:
    # where one that is placed will be is known once it is there, which may take days
    is_known = scheduler.joined is not None or not view.cluster.spec.scheduler.is_placed
    return is_known and scheduler.record is Record.ACCEPTED and scheduler.stopping is None


def _alive(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(instance for instance in instances if instance.state is not State.ENDED)


def _forced(view: View, now: float) -> Iterable[Action]:
    bound = view.settings.grace + FORCE_AFTER
    late = tuple(
        instance.id
        for instance in _alive(view.instances)
        if instance.stopping is not None
        and now - instance.stopping >= bound
        and is_over(view.forced, instance.id, FORCE_EVERY, now)
    )
    if late:
        yield Terminate(late, force=True)


def _ending(view: View, now: float) -> Iterable[Action]:
    nodes = _alive(view.nodes)
    # what may not have been launched, too: to ask for the end of nothing is harmless
    fresh = tuple(node.id for node in nodes if node.stopping is None)
    if fresh:
        yield Terminate(fresh)
    scheduler = view.scheduler
    if scheduler is None or scheduler.stopping is not None:
        return
    asked = [node.stopping for node in nodes if node.stopping is not None]
    if not nodes or (not fresh and asked and now - min(asked) >= NODES_FIRST):
        yield Terminate((scheduler.id,))


def _scheduler(view: View, now: float) -> Iterable[Action]:
    scheduler, record = view.scheduler, view.cluster.scheduler
    if scheduler is None:
        if now >= _restart_at(view):
            # the same port, so that clients find it again; a new one when others have taken it meanwhile
            recent = [t for t in record.restarts if now - t < 60.0]
            has_address = len(recent) < 4 and not view.cluster.spec.scheduler.is_placed
            yield LaunchScheduler(record.address if has_address else "")
        return
    if scheduler.joined is not None or scheduler.stopping is not None or scheduler.record is not Record.ACCEPTED:
        return
    for key, words in _hopeless(view, [scheduler], now).items():
        yield Terminate((key,), fault=words)
        return
    begun = scheduler.launched or scheduler.created
    if view.cluster.spec.scheduler.is_placed:
        # a job may wait for days
        begun = now if scheduler.started is None else max(begun, scheduler.started)
    if now - begun >= view.settings.start_timeout:
        words = f"it did not answer within {view.settings.start_timeout:g} s of its launch"
        yield Terminate((scheduler.id,), fault=f"{words}: {view.hub.trouble}" if view.hub.trouble else words)


def _restart_at(view: View) -> float:
    restarts = view.cluster.scheduler.restarts
    if not restarts:
        return 0.0
    recent = sum(restarts[-1] - t < view.settings.restart_window for t in restarts)
    # the first restart is at once: somebody waits for it
    return restarts[-1] + (0.0 if recent == 1 else min(30.0, 2.0 ** (recent - 2)))


def _group(view: View, spec: WorkerGroupSpec, chosen: Chosen, now: float) -> Iterable[Action]:
    group = view.cluster.group(spec.name)
    nodes = [node for node in _alive(view.nodes) if node.group == spec.name]
    active = [node for node in nodes if node.retiring is None and node.stopping is None]
    yield from _retiring(view, nodes, now)
    yield from _given_up(view, active)
    overdue = _never_joined(view, active, now) | _hopeless(view, active, now)
    for key, words in overdue.items():
        yield Terminate((key,), fault=words)
    need = spec.instances_for(group.desired)
    yield from _rotating(view, [node for node in active if node.id not in overdue], need, now)
    # whose time is nearly over is as good as gone: what is launched in its place is no surplus
    lasting = [node for node in active if node.rotating is None]
    if len(lasting) < need:
        room = view.rooms.get(spec.name)
        count = need - len(lasting) if room is None else min(need - len(lasting), room.more)
        if count and (group.retry_at is None or now >= group.retry_at):
            yield LaunchNodes(spec.name, count)
        return
    rest = [node for node in lasting if node.id not in overdue and node.record is not Record.ABANDONED]
    # while the scheduler is not heard, nobody knows who holds what: a node with data would pass for one that waits
    if len(rest) > need and view.hears:
        yield from _shrink(view, spec, rest, chosen, len(rest) - need, now)


def _rotating(view: View, nodes: list[Instance], need: int, now: float) -> Iterable[Action]:
    """Who hands over to a successor; on the word of a scheduler that answers, who knows who has come."""
    if not view.hears:
        return
    unwilling = {node.id for node in nodes if not is_over(view.refused, node.id, ASK_EVERY, now)}
    for each in rotation.handovers(nodes, view, need, unwilling, now):
        yield Retire(each.ids, is_late=each.is_late)


def _shrink(
    view: View, spec: WorkerGroupSpec, nodes: list[Instance], chosen: Chosen, most: int, now: float
) -> Iterable[Action]:
    willing = [node for node in nodes if is_over(view.refused, node.id, REFUSED_FOR, now)]
    if spec.name in chosen.groups or view.cluster.group(spec.name).adaptive is not None:
        # another may have set what is desired since the policy chose: never more than are too many
        here = {node.id for node in willing}
        cancel = [key for key in chosen.cancel if key in here][:most]
        drain = [key for key in chosen.drain if key in here][: most - len(cancel)]
        idle = [key for key in drain if key not in chosen.busy]
    else:
        victims = choose_victims([candidate(node, view) for node in willing], rows(view), most)
        cancel, drain, idle = list(victims.cancel), list(victims.drain), []
    if cancel:
        yield Cancel(tuple(cancel))
    if idle:
        yield Retire(tuple(idle), chosen.rev)
    if busy := [key for key in drain if key not in idle]:
        yield Retire(tuple(busy))


def _retiring(view: View, nodes: list[Instance], now: float) -> Iterable[Action]:
    # nothing is ended on the word of a hub that does not answer
    if not view.hears:
        return
    done, again = [], []
    for node in nodes:
        if node.retiring is None or node.stopping is not None:
            continue
        if any(name in view.hub_workers for name in node.workers):
            if is_over(view.asked, node.id, ASK_EVERY, now):
                again.append(node.id)
        elif view.hub.heard is not None and node.retiring < view.hub.heard <= now:
            done.append(node.id)
    if again:
        yield Retire(tuple(again))
    if done:
        yield Terminate(tuple(done))


def _given_up(view: View, active: list[Instance]) -> Iterable[Action]:
    # fenced where it would join, and only then replaced; one that has joined meanwhile is no longer given up
    ids = tuple(node.id for node in active if node.record is Record.ABANDONED)
    if ids and view.hears:
        yield Cancel(ids)


def _never_joined(view: View, active: list[Instance], now: float) -> dict[str, str]:
    """Nodes that run for too long without a worker at the scheduler, with the words of their failure."""
    if not view.hears or view.cluster.scheduler.started is None:
        return {}
    bound = view.settings.join_timeout + JOIN_PATIENCE
    overdue = {}
    for node in active:
        since = max(node.launched or now, view.cluster.scheduler.started, node.started or 0.0)
        # one that is starting and has a process hangs before our code can say anything
        runs = node.state is State.RUNNING or (node.state is State.STARTING and node.pid is not None)
        if node.joined is None and runs and now - since >= bound:
            where = f" on {node.host}" if node.host else ""
            overdue[node.id] = f"running{where} for {now - since:.0f} s, it has not reached the scheduler"
    return overdue


def _hopeless(view: View, active: list[Instance], now: float) -> dict[str, str]:
    """Instances that wait for what will never be, with their system's words."""
    seen = {node.id: view.observations[node.id] for node in active if node.id in view.observations}
    return {
        key: observation.words
        for key, observation in seen.items()
        if observation.wait is Wait.HOPELESS
        and observation.waiting is not None
        and now - observation.waiting >= HOPELESS_FOR
    }


def _again(view: View, now: float) -> float:
    waits = [group.retry_at - now for group in view.cluster.groups if group.retry_at and group.retry_at > now]
    if view.scheduler is None:
        waits.append(_restart_at(view) - now)
    if any(node.joined is None or node.retiring or node.stopping or node.rotating for node in view.nodes):
        waits.append(1.0)
    if view.scheduler is not None and view.scheduler.joined is None:
        waits.append(1.0)
    return max(0.05, min([10.0, *waits]))
