"""Pure: the adaptive policy's inputs from a cluster's view, and its decision into the record."""

from __future__ import annotations

import dataclasses

from daskd.model import adaptive as words
from daskd.model.cluster import Adaptive, Cluster, State
from daskd.model.spec import AdaptivePolicy

from .adaptive import decide
from .ledger import Ledger
from .plan import Chosen, candidate
from .settings import Settings
from .view import View

TOLD = frozenset({words.Reason.NO_WORD, words.Reason.AT_MAXIMUM, words.Reason.KEPT_DATA})
"""What is an event though the target stays. Of the rest (a lull, a graph that is taken in) the record alone tells."""


def effective(policy: AdaptivePolicy, settings: Settings) -> words.Policy:
    """The user's parameters over the configuration's."""
    changes = {
        "interval": policy.interval,
        "wait_count": policy.wait_count,
        "target_duration": policy.target_duration,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(settings.adaptive, **given)  # type: ignore[arg-type]


def group_of(cluster: Cluster) -> str:
    """The group that the policy applies to."""
    assert cluster.adaptive is not None
    return cluster.adaptive.policy.group or cluster.spec.groups[0].name


def _group(cluster: Cluster, adaptive: Adaptive, settings: Settings, start_s: float) -> words.Group:
    spec = cluster.spec.group(group_of(cluster))
    assert spec is not None
    policy = adaptive.policy
    maximum = settings.adaptive_maximum if policy.maximum is None else policy.maximum
    return words.Group(
        name=spec.name,
        minimum=policy.minimum,
        maximum=max(maximum, policy.minimum),
        nthreads=spec.nthreads,
        memory_limit=0 if spec.memory_limit == "auto" else spec.memory_limit,
        resources=tuple(sorted(spec.resources.items())),
        workers_per_instance=spec.workers_per_node,
        start_times=cluster.group(spec.name).start_times,
        stated_start=start_s,
        initial=policy.initial or 0,
    )


def remembered(adaptive: Adaptive) -> words.Memory:
    """What the last decision left; empty where it can't be read."""
    if not adaptive.memory:
        return words.Memory()
    try:
        return words.Memory.from_json(adaptive.memory)
    except words.BadMemory:
        return words.Memory()


def remember(ledger: Ledger, memory: words.Memory) -> None:
    """Put the memory into the record, without a decision."""
    assert ledger.cluster.adaptive is not None
    ledger.edit(adaptive=dataclasses.replace(ledger.cluster.adaptive, memory=memory.to_json()))


def apply(
    ledger: Ledger, view: View, snapshot: words.Snapshot | None, memory: words.Memory, start_s: float, now: float
) -> tuple[Chosen, words.Memory, words.GroupDecision]:
    """Decide, and put the decision into the record.

    Parameters
    ----------
    snapshot
        The scheduler's facts; None when there are none that can be trusted.
    memory
        What the last decision left.
    start_s
        Seconds that the driver says a start takes.

    Returns
    -------
    tuple
        Whom to let go, what to remember, the decision itself.
    """
    adaptive = ledger.cluster.adaptive
    assert adaptive is not None
    group = _group(ledger.cluster, adaptive, view.settings, start_s)
    instances = [
        candidate(node, view) for node in view.nodes if node.group == group.name and node.state is not State.ENDED
    ]
    policy = effective(adaptive.policy, view.settings)
    decision = decide(policy, [group], snapshot, instances, memory, now)
    chosen = decision.groups[group.name]
    _record(ledger, adaptive, group, chosen, decision, now)
    return (
        Chosen(frozenset({group.name}), chosen.cancel, chosen.drain, snapshot.rev if snapshot else None),
        decision.memory,
        chosen,
    )


def _record(
    ledger: Ledger,
    adaptive: Adaptive,
    group: words.Group,
    chosen: words.GroupDecision,
    decision: words.Decision,
    now: float,
) -> None:
    beyond = "".join(f"+{item.restriction}" for item in decision.unplaceable)
    code = chosen.code.value + beyond
    before = ledger.cluster.group(group.name).desired
    news = adaptive.target != chosen.target or adaptive.reason_code != code or adaptive.decided is None
    ledger.edit_group(group.name, desired=chosen.target)
    if not news:
        return
    reasons = [chosen.reason, *(item.reason for item in decision.unplaceable)]
    ledger.edit(
        adaptive=dataclasses.replace(
            adaptive,
            target=chosen.target,
            reason="; ".join(reasons),
            reason_code=code,
            decided=now,
            memory=decision.memory.to_json(),
        )
    )
    is_other = adaptive.decided is None or adaptive.target != chosen.target
    is_beyond = beyond != adaptive.reason_code.removeprefix(adaptive.reason_code.split("+")[0])
    if not (is_other or is_beyond or chosen.code in TOLD):
        return
    ledger.tell(
        "ADAPTED_TO",
        "; ".join(reasons),
        group=group.name,
        before=before,
        target=chosen.target,
        reason=chosen.code.value,
    )
