"""Pure: the adaptive policy's inputs from a cluster's view, and its decision into the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from daskd.model import adaptive as words
from daskd.model.cluster import Adaptive, Cluster, State, Unplaceable
from daskd.model.cluster import Group as Status
from daskd.model.spec import AdaptivePolicy, WorkerGroupSpec

from .adaptive import decide, is_stale, place
from .candidates import candidate
from .ledger import Ledger
from .plan import Chosen
from .settings import Settings
from .view import View

TOLD = frozenset({words.Reason.NO_WORD, words.Reason.AT_MAXIMUM, words.Reason.KEPT_DATA})
"""What is an event though the target stays. Of the rest (a lull, a graph that is taken in) the record alone tells."""


UNSTATED = 60.0
"""Seconds that a start is taken to take by a driver that can't be asked."""

FAILING = 3
"""So many failed launches in a row, and the next group fills in."""

LOOK, LOOK_AGAIN = 30.0, 5.0
"""Seconds between two looks at a cluster without an adaptive group, where nothing and where something is unplaceable.

The scheduler answers at once when a task begins to wait for a worker that is not there.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How often the scheduler is asked for its facts: every `interval` seconds, or when something wakes it.

    Attributes
    ----------
    pause
        Seconds at least between two answers.
    settle
        Seconds after which it is asked again when something woke it, and only that answer counts: who submits work and
        then scales shall not be told in between that there is no worker.
    """

    interval: float
    pause: float
    settle: float = 0.0


def pace_of(cluster: Cluster, settings: Settings, *, has_ends: bool = False) -> Pace:
    """The shortest interval that a group asks for; without an adaptive group seldom, to see what nobody can run.

    Where nodes have an end (`has_ends`), what they hold and run says how long before it they must go.
    """
    policies = [group.adaptive.policy for group in cluster.groups if group.adaptive and not group.removing]
    if not policies:
        return Pace(LOOK_AGAIN if cluster.unplaceable or has_ends else LOOK, pause=0.2, settle=2.0)
    interval = min(policy.interval or settings.adaptive.interval for policy in policies)
    return Pace(interval, min(interval, 0.2))


def in_force_since(cluster: Cluster) -> float:
    """When the youngest policy of the cluster was set, unix seconds."""
    return max((group.adaptive.since for group in cluster.groups if group.adaptive), default=0.0)


def parameters(policy: AdaptivePolicy, configured: words.Policy) -> words.Policy:
    """A user's parameters over the configuration's."""
    names = ("interval", "wait_count", "target_duration", "cool_down")
    given = {name: value for name in names if (value := getattr(policy, name)) is not None}
    return dataclasses.replace(configured, **given)


def groups_of(cluster: Cluster, settings: Settings, starts: Mapping[str, float]) -> list[words.Group]:
    """The groups as the policy sees them, in order of preference; those that are being removed are none any more."""
    interval = pace_of(cluster, settings).interval
    found = []
    for status in cluster.groups:
        spec = cluster.spec.group(status.name)
        if spec is not None and not status.removing:
            found.append(_group(spec, status, settings, starts.get(spec.driver, UNSTATED), interval))
    return found


def _group(spec: WorkerGroupSpec, status: Status, settings: Settings, start_s: float, interval: float) -> words.Group:
    # a fixed count is launched in whole instances, rounded up
    minimum = maximum = spec.launched_for(status.desired)
    initial, policy = 0, dataclasses.replace(settings.adaptive, interval=interval)
    if status.adaptive is not None:
        asked = status.adaptive.policy
        minimum, initial, policy = asked.minimum, asked.initial or 0, parameters(asked, settings.adaptive)
        maximum = settings.adaptive_maximum if asked.maximum is None else asked.maximum
    return words.Group(
        name=spec.name,
        minimum=minimum,
        maximum=max(maximum, minimum),
        policy=policy,
        fixed=status.adaptive is None,
        failing=status.failures >= FAILING,
        nthreads=spec.nthreads,
        memory_limit=0 if spec.memory_limit == "auto" else spec.memory_limit,
        resources=tuple(sorted(spec.resources.items())),
        workers_per_instance=spec.workers_per_instance,
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


def apply(
    ledger: Ledger,
    view: View,
    snapshot: words.Snapshot | None,
    memory: words.Memory,
    *,
    starts: Mapping[str, float],
    now: float,
    beat: bool,
) -> tuple[Chosen, words.Decision]:
    """Decide, and put the decision into the record.

    Parameters
    ----------
    snapshot
        The scheduler's facts; None when there are none that can be trusted.
    memory
        What the last decision left.
    starts
        Seconds that each driver says a start takes, by its name.
    beat
        Figures are persisted too, which alone are no news.

    Returns
    -------
    tuple
        Whom to let go, and the decision as a whole.
    """
    cluster = ledger.cluster
    groups = groups_of(cluster, view.settings, starts)
    decision = decide(groups, snapshot, candidates(view, groups), memory, now)
    adaptive = cluster.adaptive_groups
    news = [_record(ledger, name, decision.groups[name], now) for name in adaptive]
    news.append(_record_unplaceable(ledger, decision.unplaceable, beat=beat))
    if any(news) or (beat and snapshot is not None and snapshot.more_work):
        ledger.edit(adaptive_memory=decision.memory.to_json())
    chosen = [decision.groups[name] for name in adaptive]
    _mark(ledger, chosen, now)
    drain = tuple(key for each in chosen for key in each.drain)
    return (
        Chosen(
            frozenset(adaptive),
            tuple(key for each in chosen for key in each.cancel),
            drain,
            frozenset(_busy(drain, snapshot)),
            snapshot.rev if snapshot else None,
        ),
        decision,
    )


def _mark(ledger: Ledger, chosen: Sequence[words.GroupDecision], now: float) -> None:
    """Record whose time is nearly over: it counts for nothing any more, now and after a restart."""
    living = {node.id: node for node in ledger.instances if node.state is not State.ENDED}
    for key in (key for each in chosen for key in each.leaving):
        if key in living and living[key].rotating is None:
            ledger.edit_instance(key, rotating=now)


def look(
    ledger: Ledger, view: View, snapshot: words.Snapshot, *, starts: Mapping[str, float], now: float, beat: bool
) -> None:
    """Put into the record what nobody can run, of a cluster without an adaptive group."""
    groups = groups_of(ledger.cluster, view.settings, starts)
    if not is_stale(snapshot, groups, now):
        _, unplaceable = place(snapshot, groups, candidates(view, groups))
        _record_unplaceable(ledger, unplaceable, beat=beat)


def candidates(view: View, groups: Sequence[words.Group]) -> list[words.Instance]:
    """The instances of these groups as the policy sees them."""
    names = {group.name for group in groups}
    return [candidate(node, view) for node in view.nodes if node.group in names and node.state is not State.ENDED]


def _busy(drain: Sequence[str], snapshot: words.Snapshot | None) -> set[str]:
    """Those of the instances to drain that had work when they were chosen: more of it is no reason to stay."""
    chosen = set(drain)
    rows = snapshot.workers if snapshot else ()
    return {row.instance for row in rows if row.instance is not None and row.instance in chosen and not row.idle}


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


def _record_unplaceable(ledger: Ledger, found: Sequence[words.Unplaceable] | None, *, beat: bool) -> bool:
    """Tell of tasks that nobody can run when a restriction is new; their number alone is recorded, now and then.

    Returns
    -------
    Whether there is news: a restriction that came or went.
    """
    if found is None:
        return False
    now = tuple(Unplaceable(item.count, item.restriction, item.example or "", item.reason) for item in found)
    before = {item.restriction: item for item in ledger.cluster.unplaceable}
    is_news = {item.restriction for item in now} != set(before)
    if is_news or beat or any(_is_much(before[item.restriction].count, item.count) for item in now):
        ledger.edit(unplaceable=now)
    for item in now:
        if item.restriction not in before:
            ledger.tell("TASKS_UNPLACEABLE", item.words, restriction=item.restriction, count=item.count)
    if before and not now:
        ledger.tell("TASKS_PLACEABLE", "no task waits any more for a worker that no group has")
    return is_news


def _is_much(before: int, now: int) -> bool:
    """Whether a count is so different that it is recorded at once."""
    return max(before, now) > 2 * min(before, now)
