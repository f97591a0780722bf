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
    return dataclasses.replace(
        after,
        spec=current.spec,
        stop=current.stop or after.stop,
        adaptive=_adaptive(current.adaptive, before.adaptive, after.adaptive),
        groups=tuple(_group(group, current, before) for group in after.groups),
    )


def _adaptive(current: Adaptive | None, before: Adaptive | None, after: Adaptive | None) -> Adaptive | None:
    # the same policy goes on with what was decided; another, or none, was set meanwhile
    if current is None or before is None:
        return current
    same = (current.policy, current.since) == (before.policy, before.since)
    return after if same else current


def _group(after: Group, current: Cluster, before: Cluster) -> Group:
    now = current.group(after.name).desired
    return dataclasses.replace(after, desired=now) if now != before.group(after.name).desired else after
