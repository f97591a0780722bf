"""Pure: the adaptive policy's inputs from a cluster's view, and its decision into the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from daskd.model import adaptive as words
from daskd.model.cluster import Adaptive, Cluster, State, Unplaceable
from daskd.model.cluster import Group as Status
from daskd.model.spec import WorkerGroupSpec

from .adaptive import decide
from .candidates import candidate
from .ledger import Ledger
from .plan import Chosen
from .settings import Settings
from .view import View

TOLD = frozenset({words.Reason.NO_WORD, words.Reason.AT_MAXIMUM, words.Reason.KEPT_DATA})
"""What is an event though the target stays. Of the rest (a lull, a graph that is taken in) the record alone tells."""


UNSTATED = 60.0
"""Seconds that a start is taken to take by a driver that can't be asked."""


def interval_of(cluster: Cluster, settings: Settings) -> float | None:
    """Seconds between two decisions, the shortest that a group asks for; None: no group is adaptive."""
    policies = [group.adaptive.policy for group in cluster.groups if group.adaptive and not group.removing]
    given = [policy.interval or settings.adaptive.interval for policy in policies]
    return min(given, default=None)


def in_force_since(cluster: Cluster) -> float:
    """When the youngest policy of the cluster was set, unix seconds."""
    return max((group.adaptive.since for group in cluster.groups if group.adaptive), default=0.0)


def effective(cluster: Cluster, settings: Settings) -> words.Policy:
    """The users' parameters over the configuration's."""
    policies = [group.adaptive.policy for group in cluster.groups if group.adaptive and not group.removing]
    changes = {
        "interval": interval_of(cluster, settings),
        "wait_count": max((p.wait_count for p in policies if p.wait_count is not None), default=None),
        "target_duration": min((p.target_duration for p in policies if p.target_duration is not None), default=None),
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(settings.adaptive, **given)  # type: ignore[arg-type]


def _group(spec: WorkerGroupSpec, status: Status, settings: Settings, start_s: float) -> words.Group:
    """A group as the policy sees it; one of a fixed count supplies, and is never changed."""
    minimum = maximum = status.desired
    initial = 0
    if status.adaptive is not None:
        policy = status.adaptive.policy
        minimum, initial = policy.minimum, policy.initial or 0
        maximum = settings.adaptive_maximum if policy.maximum is None else policy.maximum
    return words.Group(
        name=spec.name,
        minimum=minimum,
        maximum=max(maximum, minimum),
        nthreads=spec.nthreads,
        memory_limit=0 if spec.memory_limit == "auto" else spec.memory_limit,
        resources=tuple(sorted(spec.resources.items())),
        workers_per_instance=spec.workers_per_node,
        start_times=status.start_times,
        stated_start=start_s,
        initial=initial,
    )


def remembered(cluster: Cluster) -> words.Memory:
    """What the last decision left; empty where it can't be read."""
    if not cluster.adaptive_memory:
        return words.Memory()
    try:
        return words.Memory.from_json(cluster.adaptive_memory)
    except words.BadMemory:
        return words.Memory()


def remember(ledger: Ledger, memory: words.Memory) -> None:
    """Put the memory into the record, without a decision."""
    ledger.edit(adaptive_memory=memory.to_json())


def apply(
    ledger: Ledger,
    view: View,
    snapshot: words.Snapshot | None,
    memory: words.Memory,
    starts: Mapping[str, float],
    now: float,
) -> tuple[Chosen, words.Memory]:
    """Decide, and put the decision into the record.

    Parameters
    ----------
    snapshot
        The scheduler's facts; None when there are none that can be trusted.
    memory
        What the last decision left.
    starts
        Seconds that each driver says a start takes, by its name.

    Returns
    -------
    tuple
        Whom to let go, and what to remember.
    """
    cluster = ledger.cluster
    here = [group for group in cluster.groups if not group.removing]
    groups = [
        _group(spec, group, view.settings, starts.get(spec.driver, UNSTATED))
        for group in here
        if (spec := cluster.spec.group(group.name))
    ]
    names = {group.name for group in groups}
    instances = [candidate(n, view) for n in view.nodes if n.group in names and n.state is not State.ENDED]
    decision = decide(effective(cluster, view.settings), groups, snapshot, instances, memory, now)
    adaptive = cluster.adaptive_groups
    news = [_record(ledger, name, decision.groups[name], now) for name in adaptive]
    if _record_unplaceable(ledger, decision) or any(news):
        remember(ledger, decision.memory)
    chosen = [decision.groups[name] for name in adaptive]
    _mark(ledger, chosen, now)
    return (
        Chosen(
            frozenset(adaptive),
            tuple(key for each in chosen for key in each.cancel),
            tuple(key for each in chosen for key in each.drain),
            snapshot.rev if snapshot else None,
        ),
        decision.memory,
    )


def _mark(ledger: Ledger, chosen: Sequence[words.GroupDecision], now: float) -> None:
    """Record whose time is nearly over: it counts for nothing any more, now and after a restart."""
    living = {node.id: node for node in ledger.instances if node.state is not State.ENDED}
    for key in (key for each in chosen for key in each.leaving):
        if key in living and living[key].rotating is None:
            ledger.edit_instance(key, rotating=now)


def _record(ledger: Ledger, name: str, chosen: words.GroupDecision, now: float) -> bool:
    status = ledger.cluster.group(name)
    before = status.adaptive
    assert before is not None
    is_other = before.decided is None or before.target != chosen.target
    if not is_other and before.reason_code == chosen.code.value:
        ledger.edit_group(name, desired=chosen.target)
        return False
    after = Adaptive(before.policy, before.since, chosen.target, chosen.reason, chosen.code.value, decided=now)
    ledger.edit_group(name, desired=chosen.target, adaptive=after)
    if is_other or chosen.code in TOLD:
        ledger.tell(
            "ADAPTED_TO",
            chosen.reason,
            group=name,
            before=status.desired,
            target=chosen.target,
            reason=chosen.code.value,
        )
    return True


def _record_unplaceable(ledger: Ledger, decision: words.Decision) -> bool:
    """Tell of tasks that nobody can run when a restriction is new; their number alone is no news."""
    now = tuple(
        Unplaceable(item.count, item.restriction, item.example or "", item.reason) for item in decision.unplaceable
    )
    known = {item.restriction for item in ledger.cluster.unplaceable}
    if {item.restriction for item in now} == known:
        return False
    ledger.edit(unplaceable=now)
    for item in now:
        if item.restriction not in known:
            ledger.tell("TASKS_UNPLACEABLE", item.words, restriction=item.restriction, count=item.count)
    if not now:
        ledger.tell("TASKS_PLACEABLE", "no task waits any more for a worker that no group has")
    return True
