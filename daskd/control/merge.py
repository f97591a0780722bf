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
    adapts = _is_same(current.adaptive, before.adaptive)
    return dataclasses.replace(
        after,
        spec=current.spec,
        stop=current.stop or after.stop,
        grants=current.grants,
        adaptive=after.adaptive if adapts else current.adaptive,
        groups=tuple(_group(group, current, before, adapts) for group in after.groups),
        next_ordinal=max(current.next_ordinal, after.next_ordinal),
    )


def _is_same(current: Adaptive | None, before: Adaptive | None) -> bool:
    """Whether the policy that the pass decided by is still the one that is set."""
    if current is None or before is None:
        return False
    return (current.policy, current.since) == (before.policy, before.since)


def _group(after: Group, current: Cluster, before: Cluster, adapts: bool) -> Group:
    # a pass changes what is desired by the adaptive policy alone: without it, its decision is void
    now = current.group(after.name).desired
    if adapts and now == before.group(after.name).desired:
        return after
    return dataclasses.replace(after, desired=now)
