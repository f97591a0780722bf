"""Pure: two writers of one record. The API sets what is desired, the reconciler what is observed."""

from __future__ import annotations

import dataclasses

from daskd.model.cluster import Adaptive, Cluster, Group


def merge(current: Cluster, before: Cluster, after: Cluster) -> Cluster:
    """What a pass made of the record that it read, over what the record is now.

    Parameters
    ----------
    current
        As the store has it.
    before, after
        As the pass read it, and what it made of it.
    """
    dropped = _dropped(before, after)
    kept = tuple(spec for spec in current.spec.groups if spec.name not in dropped)
    return dataclasses.replace(
        after,
        spec=current.spec.model_copy(update={"groups": kept}) if dropped else current.spec,
        stop=current.stop or after.stop,
        grants=current.grants,
        groups=tuple(group for group in _groups(current, before, after) if group.name not in dropped),
        next_ordinal=max(current.next_ordinal, after.next_ordinal),
    )


def _dropped(before: Cluster, after: Cluster) -> frozenset[str]:
    """Groups that were being removed, and of which the pass saw the last instance end.

    Until that is written none of the same name can come, and none that is being removed can be wanted again.
    """
    return frozenset(group.name for group in before.groups) - {group.name for group in after.groups}


def _groups(current: Cluster, before: Cluster, after: Cluster) -> tuple[Group, ...]:
    """Which groups there are is the API's word, but for what the pass dropped: one that came meanwhile is there."""
    read = {group.name: group for group in before.groups}
    made = {group.name: group for group in after.groups}
    return tuple(
        _group(now, read[now.name], made[now.name]) if now.name in read and now.name in made else now
        for now in current.groups
    )


def _group(now: Group, read: Group, made: Group) -> Group:
    # a pass changes what is desired by the adaptive policy alone: without it, its decision is void
    adapts = _is_same(now.adaptive, read.adaptive)
    return dataclasses.replace(
        made,
        desired=made.desired if adapts and now.desired == read.desired else now.desired,
        adaptive=made.adaptive if adapts else now.adaptive,
        removing=now.removing,
    )


def _is_same(current: Adaptive | None, before: Adaptive | None) -> bool:
    """Whether the policy that the pass decided by is still the one that is set."""
    if current is None or before is None:
        return False
    return (current.policy, current.since) == (before.policy, before.since)
