"""Pure: what clusters take, and whether that is within what their owner may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daskd.config import Config, Quota
from daskd.model.cluster import Cluster
from daskd.model.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Usage:
    """What clusters take at most: an adaptive group counts with its maximum. `memory` in bytes."""

    clusters: int = 0
    workers: int = 0
    cores: int = 0
    memory: int = 0
    unbounded: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.clusters + other.clusters,
            self.workers + other.workers,
            self.cores + other.cores,
            self.memory + other.memory,
            self.unbounded or other.unbounded,
        )


def usage_of(cluster: Cluster) -> Usage:
    """What one cluster takes. `unbounded`: it has workers without a memory limit."""
    usage = Usage(clusters=1)
    for group in cluster.groups:
        spec = cluster.spec.group(group.name)
        if spec is None:
            continue
        count = spec.launched_for(group.desired)
        if group.adaptive is not None:
            count = max(count, group.adaptive.policy.maximum or 0)
        if not count:
            continue
        limit = 0 if spec.memory_limit == "auto" else spec.memory_limit
        usage += Usage(0, count, count * spec.nthreads, count * limit, unbounded=not limit)
    return usage


def is_limited(config: Config, profile: str) -> bool:
    """Whether anything is limited for clusters of that profile."""
    found = config.profile(profile)
    return config.limits.user != Quota() or (found is not None and found.user != Quota())


def check_quotas(config: Config, others: Iterable[Cluster], before: Cluster | None, after: Cluster) -> None:
    """See that a cluster may be made, or grow.

    Parameters
    ----------
    others
        The owner's other live clusters.
    before, after
        The cluster as it is (None: it is new), and as it shall be. What does not grow is never refused.

    Raises
    ------
    LimitExceeded
        Naming what is used, what is asked for, and what is allowed.
    """
    theirs = list(others)
    _check(config.limits.user, "limits.user", theirs, before, after)
    profile = config.profile(after.spec.profile)
    if profile is not None:
        name = after.spec.profile or "default"
        same = [each for each in theirs if (each.spec.profile or "default") == name]
        _check(profile.user, f"profiles.{name}.user", same, before, after)


def reached(config: Config, clusters: Iterable[Cluster], cluster: Cluster) -> list[str]:
    """Limits that leave the cluster no room to grow, in words.

    Parameters
    ----------
    clusters
        All live clusters of its owner, it among them.
    """
    theirs = list(clusters)
    found = _reached(config.limits.user, "limits.user", theirs)
    profile = config.profile(cluster.spec.profile)
    if profile is not None:
        name = cluster.spec.profile or "default"
        same = [each for each in theirs if (each.spec.profile or "default") == name]
        found += _reached(profile.user, f"profiles.{name}.user", same)
    return found


def _reached(quota: Quota, key: str, clusters: list[Cluster]) -> list[str]:
    used = sum(map(usage_of, clusters), Usage())
    found = []
    for what in ("workers", "cores", "memory"):
        allowed = getattr(quota, f"max_{what}")
        if allowed is not None and getattr(used, what) >= allowed:
            shown = _size(allowed) if what == "memory" else str(allowed)
            unit = "of memory" if what == "memory" else what
            found.append(f"it can't be given more: its owner's clusters may take {shown} {unit} (`{key}.max_{what}`)")
    return found


def _check(quota: Quota, key: str, others: list[Cluster], before: Cluster | None, after: Cluster) -> None:
    used = sum(map(usage_of, others), Usage())
    now = usage_of(before) if before is not None else Usage()
    then = usage_of(after)
    for what in ("clusters", "workers", "cores", "memory"):
        allowed = getattr(quota, f"max_{what}")
        grows = getattr(then, what) > getattr(now, what)
        if allowed is not None and grows and getattr(used + then, what) > allowed:
            raise _exceeded(what, getattr(used + now, what), getattr(used + then, what), allowed, f"{key}.max_{what}")
    if quota.max_memory is not None and then.unbounded and then.workers > now.workers:
        raise LimitExceeded(
            f"memory is limited here (`{key}.max_memory`), and a worker without a memory limit could take any: set "
            "`memory_limit`",
            facts={"allowed": str(quota.max_memory), "limit": f"{key}.max_memory"},
        )


def _exceeded(what: str, used: int, asked: int, allowed: int, key: str) -> LimitExceeded:
    shown = _size if what == "memory" else str
    unit = "of memory" if what == "memory" else what
    return LimitExceeded(
        f"clusters of this owner take {shown(used)} {unit} now, would take {shown(asked)}, and {shown(allowed)} are "
        f"allowed: ask for less, end another cluster, or have the administrator raise `{key}`",
        facts={"used": str(used), "asked": str(asked), "allowed": str(allowed), "limit": key},
    )


def _size(count: int) -> str:
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} B"
