"""What a user may change of a cluster, as pure steps: the record before -> the record after, and its history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from daskd.model.access import Grant
from daskd.model.cluster import Adaptive, Cluster, Group
from daskd.model.errors import (
    ClusterNotRunning,
    GroupExists,
    GroupNotFound,
    InvalidArgument,
    LimitExceeded,
    Problem,
)
from daskd.model.event import NewEvent
from daskd.model.problems import not_there
from daskd.model.spec import MOST_GROUPS, AdaptivePolicy, WorkerGroupSpec

MOST_GRANTS = 100

_NO_LIMIT = "the workers of group {!r} have no memory limit to divide it by: say how many workers, or how many cores"


@dataclass(frozen=True, slots=True)
class Step:
    """A cluster after a change, with the events that tell it; the same cluster and no event if nothing changes."""

    cluster: Cluster
    events: tuple[NewEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most workers that a group (profile) and a cluster (configuration) may have.

    Attributes
    ----------
    adaptive
        The maximum of an adaptive policy that names none.
    """

    group: int
    cluster: int
    adaptive: int


@dataclass(frozen=True, slots=True)
class Size:
    """How much there shall be of a group: workers, or threads or memory (bytes) in whole workers, rounded up."""

    workers: int | None = None
    cores: int | None = None
    memory: int | None = None


def new_group(spec: WorkerGroupSpec, bounds: Bounds, now: float) -> Group:
    """The changing part of a group that was just asked for, which `completed` finds nothing wrong with."""
    if spec.adaptive is None:
        return Group(spec.name, desired=spec.n_workers)
    policy, _ = completed(spec.adaptive, spec, bounds)
    return Group(spec.name, desired=spec.n_workers, adaptive=Adaptive(policy, since=now))


def scaled(cluster: Cluster, group: str, size: Size, *, actor: str, bounds: Bounds) -> Step:
    """A group of another size, and no adaptive policy of its own any more.

    Parameters
    ----------
    group
        Its name; empty: the first.
    actor
        The user who asks.

    Raises
    ------
    InvalidArgument
        For a negative number, or memory where workers have no memory limit.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    LimitExceeded
        When it would be more than `bounds` allow.
    """
    check_lives(cluster)
    name = staying_group(cluster, group)
    old, spec = cluster.group(name), spec_of(cluster, name)
    n_workers = _workers(size, spec)
    if n_workers > old.desired:
        wanted = [(each.name, n_workers if each.name == name else each.desired) for each in cluster.groups]
        check_counts([(each, spec_of(cluster, each).launched_for(count)) for each, count in wanted], bounds)
    if n_workers == old.desired and old.adaptive is None:
        return Step(cluster)
    words = f"group {name!r} shall have {n_workers} workers instead of {old.desired}"
    was_adaptive = str(old.adaptive is not None).lower()
    facts = {"group": name, "from": str(old.desired), "to": str(n_workers), "adaptive_off": was_adaptive}
    if old.adaptive is not None:
        words += "; its adaptive policy is off"
    after = _with_group(
        cluster,
        replace(old, desired=n_workers, adaptive=None),
        spec.model_copy(update={"n_workers": n_workers, "adaptive": None}),
    )
    return Step(after, (NewEvent("SCALED", words, actor, facts),))


def _workers(size: Size, spec: WorkerGroupSpec) -> int:
    for field, value, each in (
        ("n_workers", size.workers, 1),
        ("cores", size.cores, spec.nthreads),
        ("memory", size.memory, spec.memory_limit),
    ):
        if value is None:
            continue
        if value < 0:
            raise _argument(field, f"{value} is out of range: write a number from 0 up")
        if isinstance(each, str) or not each:
            raise _argument(field, _NO_LIMIT.format(spec.name))
        return -(-value // each)
    return 0


def adapted(cluster: Cluster, group: str, policy: AdaptivePolicy, *, actor: str, bounds: Bounds, now: float) -> Step:
    """A cluster whose group follows the work; its count is left to the policy.

    Parameters
    ----------
    group
        Its name; empty: the first.
    now
        Since when it is in force, unix seconds.

    Raises
    ------
    InvalidArgument
        When it can't be followed under `bounds`.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    LimitExceeded
        When its maximum is more than `bounds` allow.
    """
    check_lives(cluster)
    name = staying_group(cluster, group)
    old, spec = cluster.group(name), spec_of(cluster, name)
    complete, problems = completed(policy, spec, bounds)
    if problems:
        raise InvalidArgument(problems[0].words, problems=[_under("policy", each) for each in problems])
    if old.adaptive is not None and old.adaptive.policy == complete:
        return Step(cluster)
    if old.adaptive is not None:
        adaptive = replace(old.adaptive, policy=complete, since=now)  # what was decided of this group still holds
    else:
        adaptive = Adaptive(complete, since=now, target=old.desired)
    words = f"group {name!r} follows the work, from {complete.minimum} to {complete.maximum} workers"
    facts = {key: str(value) for key, value in complete.model_dump(exclude_none=True).items()} | {"group": name}
    after = _with_group(cluster, replace(old, adaptive=adaptive), spec.model_copy(update={"adaptive": policy}))
    return Step(after, (NewEvent("ADAPTED", words, actor, facts),))


def unadapted(cluster: Cluster, group: str, *, actor: str) -> Step:
    """A cluster whose group has no adaptive policy; its count stays as it is.

    Raises
    ------
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    """
    check_lives(cluster)
    name = staying_group(cluster, group)
    old, spec = cluster.group(name), spec_of(cluster, name)
    if old.adaptive is None:
        return Step(cluster)
    words = f"the adaptive policy is off; group {name!r} stays at {old.desired} workers"
    facts = {"group": name, "desired": str(old.desired)}
    fixed = spec.model_copy(update={"adaptive": None, "n_workers": old.desired})
    return Step(
        _with_group(cluster, replace(old, adaptive=None), fixed), (NewEvent("ADAPTIVE_OFF", words, actor, facts),)
    )


def group_added(cluster: Cluster, spec: WorkerGroupSpec, *, actor: str, bounds: Bounds, now: float) -> Step:
    """A cluster with a worker group more; the same cluster if it has this very group.

    Parameters
    ----------
    spec
        The group, complete; `completed` finds nothing wrong with its policy.

    Raises
    ------
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupExists
        When there is another group of that name, or one that is being removed.
    LimitExceeded
        When it would be more workers than `bounds` allow, or very many groups.
    """
    check_lives(cluster)
    there = next((each for each in cluster.groups if each.name == spec.name), None)
    if there is not None and not there.removing and spec_of(cluster, spec.name) == spec:
        return Step(cluster)
    if there is not None:
        raise _group_exists(cluster, there)
    if len(cluster.groups) >= MOST_GROUPS:
        raise LimitExceeded(
            f"cluster {cluster.name!r} has {len(cluster.groups)} worker groups, and {MOST_GROUPS} are allowed: remove "
            "one",
            facts={"used": str(len(cluster.groups)), "allowed": str(MOST_GROUPS)},
        )
    groups = (*cluster.groups, new_group(spec, bounds, now))
    specs = (*cluster.spec.groups, spec)
    each_launched = {one.name: one.launched_for for one in specs}
    check_counts([(each.name, each_launched[each.name](each.desired)) for each in groups], bounds)
    after = replace(cluster, groups=groups, spec=cluster.spec.model_copy(update={"groups": specs}))
    words = f"group {spec.name!r}: added, {_count(spec.n_workers)}"
    facts = {"group": spec.name, "n_workers": str(spec.n_workers), "driver": spec.driver}
    return Step(after, (NewEvent("GROUP_ADDED", words, actor, facts),))


def _group_exists(cluster: Cluster, there: Group) -> GroupExists:
    what = f"cluster {cluster.name!r} has a worker group {there.name!r} already, and it is another one"
    mend = "choose another name, or remove that one first"
    if there.removing:
        what = f"the worker group {there.name!r} of cluster {cluster.name!r} is still being removed"
        mend = "wait until it is gone, or choose another name"
    return GroupExists(f"{what}: {mend}", facts={"group": there.name, "name": cluster.name})


def group_removed(cluster: Cluster, group: str, *, actor: str) -> Step:
    """A cluster one of whose groups goes: its workers' data moves, they end, and then it is dropped.

    Raises
    ------
    InvalidArgument
        When no group is named, or it is the last one.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    """
    check_lives(cluster)
    if not group:
        raise _argument("group", "name the worker group to remove")
    old = cluster.group(group_name(cluster, group))
    if old.removing:
        return Step(cluster)
    if all(each.removing for each in cluster.groups if each.name != group):
        words = f"{group!r} is the last worker group of cluster {cluster.name!r}: scale it to 0, or delete the cluster"
        raise _argument("group", words)
    return group_leaving(cluster, group, actor=actor)


def group_leaving(cluster: Cluster, group: str, *, actor: str) -> Step:
    """`group_removed` of a group that there is, and that is not the last: another one stays, or is added with it."""
    old = cluster.group(group)
    # its spec stays until its last instance has ended: that is what it was launched by
    spec = spec_of(cluster, group).model_copy(update={"n_workers": 0, "adaptive": None})
    after = _with_group(cluster, replace(old, desired=0, adaptive=None, removing=True), spec)
    words = f"group {group!r}: removed, {_count(old.desired)}"
    facts = {"group": group, "from": str(old.desired)}
    return Step(after, (NewEvent("GROUP_REMOVAL_REQUESTED", words, actor, facts),))


def _count(n_workers: int) -> str:
    return f"{n_workers} worker{'' if n_workers == 1 else 's'}"


def spec_of(cluster: Cluster, name: str) -> WorkerGroupSpec:
    """What is wanted of a group that the cluster has."""
    spec = cluster.spec.group(name)
    assert spec is not None, name
    return spec


def _with_group(cluster: Cluster, group: Group, spec: WorkerGroupSpec) -> Cluster:
    """The cluster with this group in the place of the one of its name; what is wanted is the spec."""
    groups = tuple(group if each.name == group.name else each for each in cluster.groups)
    specs = tuple(spec if each.name == spec.name else each for each in cluster.spec.groups)
    return replace(cluster, groups=groups, spec=cluster.spec.model_copy(update={"groups": specs}))


def deleted(cluster: Cluster, *, actor: str) -> Step:
    """A cluster that shall end; one that ends or has ended already is left as it is."""
    if cluster.stop or cluster.ended is not None:
        return Step(cluster)
    words = f"deleted by {actor}"
    return Step(replace(cluster, stop=words), (NewEvent("DELETE_REQUESTED", words, actor),))


def shared(cluster: Cluster, grant: Grant, *, actor: str) -> Step:
    """A cluster that is shared with one more; who had a right before has this one instead.

    Raises
    ------
    LimitExceeded
        When it is shared with very many already.
    """
    if grant in cluster.grants:
        return Step(cluster)
    others = tuple(each for each in cluster.grants if each.subject != grant.subject)
    if len(others) >= MOST_GRANTS:
        raise LimitExceeded(
            f"cluster {cluster.name!r} is shared with {len(others)} users and groups, and {MOST_GRANTS} are allowed: "
            "share it with a group",
            facts={"used": str(len(others)), "allowed": str(MOST_GRANTS)},
        )
    words = f"shared with {grant.who}, who may {grant.right.value} it"
    facts = {"who": grant.who, "right": grant.right.value}
    return Step(replace(cluster, grants=(*others, grant)), (NewEvent("SHARED", words, actor, facts),))


def unshared(cluster: Cluster, who: str, *, actor: str) -> Step:
    """A cluster that is not shared with that user or group (any more)."""
    left = tuple(grant for grant in cluster.grants if grant.who != who)
    if left == cluster.grants:
        return Step(cluster)
    event = NewEvent("UNSHARED", f"no longer shared with {who}", actor, {"who": who})
    return Step(replace(cluster, grants=left), (event,))


def check_lives(cluster: Cluster) -> None:
    """See that a cluster neither is ending nor has ended.

    Raises
    ------
    ClusterNotRunning
        When it is, with why.
    """
    if cluster.ended is None and not cluster.stop and not cluster.failed:
        return
    state = "is ending" if cluster.ended is None else "has ended"
    why = cluster.stop or cluster.message
    raise ClusterNotRunning(
        f"cluster {cluster.name!r} {state}{f' ({why})' if why else ''}: create another",
        facts={"name": cluster.name, "uid": cluster.uid, "phase": cluster.phase.value},
    )


def group_name(cluster: Cluster, group: str, field: str = "group") -> str:
    """The name of a group of the cluster; of the first that stays for an empty one.

    Raises
    ------
    GroupNotFound
        When there is none; the words tell which there are.
    """
    names = [each.name for each in cluster.groups]
    if not group:
        return next((each.name for each in cluster.groups if not each.removing), names[0])
    if group not in names:
        words = not_there("worker group", group, names)
        facts = {"group": group, "name": cluster.name}
        raise GroupNotFound(f"cluster {cluster.name!r}: {words}", facts=facts, problems=[Problem(field, words)])
    return group


def staying_group(cluster: Cluster, group: str, field: str = "group") -> str:
    """The name of a group that can be changed: as `group_name`, and it is not being removed.

    Raises
    ------
    GroupNotFound
        When there is none.
    """
    name = group_name(cluster, group, field)
    if cluster.group(name).removing:
        words = f"worker group {name!r} is being removed"
        facts = {"group": name, "name": cluster.name}
        raise GroupNotFound(f"cluster {cluster.name!r}: {words}", facts=facts, problems=[Problem(field, words)])
    return name


def check_counts(desired: Iterable[tuple[str, int]], bounds: Bounds) -> None:
    """See that groups, given by name and count, are within what is allowed.

    Raises
    ------
    LimitExceeded
        Naming what is asked for and what is allowed.
    """
    counts = list(desired)
    for name, count in counts:
        if count > bounds.group:
            raise _limit(f"group {name!r}", count, bounds.group)
    total = sum(count for _, count in counts)
    if total > bounds.cluster:
        raise _limit("the cluster", total, bounds.cluster)


def completed(policy: AdaptivePolicy, group: WorkerGroupSpec, bounds: Bounds) -> tuple[AdaptivePolicy, list[Problem]]:
    """The policy with its bounds in whole workers, and what is wrong with it.

    Raises
    ------
    LimitExceeded
        When its maximum is more than the group may have.
    """
    allowed = min(bounds.group, bounds.cluster)
    if problems := _limit_problems(policy, group):
        return policy, problems
    each = {"": 1, "_cores": group.nthreads, "_memory": group.memory_limit}
    most = _in_workers(policy, "maximum", each, lambda amount, size: amount // size)
    if most and min(most) > allowed:
        raise _limit(f"the adaptive policy of group {group.name!r}", min(most), allowed)
    maximum = min(most) if most else min(bounds.adaptive, allowed)
    minimum = max(_in_workers(policy, "minimum", each, lambda amount, size: -(-amount // size)))
    given = "the maximum" if most else "the maximum that holds when none is given,"
    for field, value in (("minimum", minimum), ("initial", policy.initial)):
        if value is not None and value > maximum:
            problems.append(Problem(field, f"{field} {value} is more than {given} {maximum}: raise `maximum`"))
    return policy.model_copy(update={"minimum": minimum, "maximum": maximum}), problems


def _in_workers(
    policy: AdaptivePolicy, bound: str, each: dict[str, Any], whole: Callable[[int, int], int]
) -> list[int]:
    given = {unit: getattr(policy, f"{bound}{unit}") for unit in each}
    return [whole(amount, each[unit]) for unit, amount in given.items() if amount is not None]


def _limit_problems(policy: AdaptivePolicy, group: WorkerGroupSpec) -> list[Problem]:
    if group.memory_limit != "auto" and group.memory_limit:
        return []
    fields = [field for field in ("minimum_memory", "maximum_memory") if getattr(policy, field) is not None]
    return [Problem(field, _NO_LIMIT.format(group.name)) for field in fields]


def _under(prefix: str, problem: Problem) -> Problem:
    return Problem(f"{prefix}.{problem.field}", problem.words)


def _argument(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(words, facts={"field": field}, problems=[Problem(field, words)])


def _limit(what: str, asked: int, allowed: int) -> LimitExceeded:
    return LimitExceeded(
        f"{what} would have {asked} workers, and {allowed} are allowed: ask for fewer, or ask the administrator to "
        "raise the limit (`max_workers`)",
        facts={"asked": str(asked), "allowed": str(allowed)},
    )
