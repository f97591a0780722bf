"""What a user may change of a cluster, as pure steps: the record before -> the record after, and its history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from daskd.model.access import Grant
from daskd.model.cluster import Adaptive, Cluster
from daskd.model.errors import ClusterNotRunning, GroupNotFound, InvalidArgument, LimitExceeded, Problem
from daskd.model.event import NewEvent
from daskd.model.problems import not_there
from daskd.model.spec import AdaptivePolicy

MOST_GRANTS = 100


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


def scaled(cluster: Cluster, group: str, n_workers: int, *, actor: str, bounds: Bounds) -> Step:
    """A group with another number of workers, and no adaptive policy of its own any more.

    Parameters
    ----------
    group
        Its name; empty: the first.
    actor
        The user who asks.

    Raises
    ------
    InvalidArgument
        For a negative number.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupNotFound
        When there is no such group.
    LimitExceeded
        When it would be more than `bounds` allow.
    """
    if n_workers < 0:
        raise _argument("n_workers", f"{n_workers} is out of range: write a number of workers from 0 up")
    check_lives(cluster)
    name = group_name(cluster, group)
    old = cluster.group(name)
    if n_workers > old.desired:
        check_counts([(each.name, n_workers if each.name == name else each.desired) for each in cluster.groups], bounds)
    was_adaptive = cluster.adaptive is not None and cluster.adaptive.policy.group in ("", name)
    if n_workers == old.desired and not was_adaptive:
        return Step(cluster)
    words = f"group {name!r} shall have {n_workers} workers instead of {old.desired}"
    facts = {"group": name, "from": str(old.desired), "to": str(n_workers), "adaptive_off": str(was_adaptive).lower()}
    if was_adaptive:
        words += "; its adaptive policy is off"
    groups = tuple(replace(each, desired=n_workers) if each.name == name else each for each in cluster.groups)
    after = replace(cluster, groups=groups, adaptive=None if was_adaptive else cluster.adaptive)
    return Step(after, (NewEvent("SCALED", words, actor, facts),))


def adapted(cluster: Cluster, policy: AdaptivePolicy, *, actor: str, bounds: Bounds, now: float) -> Step:
    """A cluster under an adaptive policy; counts are left to the policy.

    Parameters
    ----------
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
    name = group_name(cluster, policy.group, field="policy.group")
    complete, problems = completed(policy, name, bounds)
    if problems:
        raise InvalidArgument(problems[0].words, problems=[_under("policy", each) for each in problems])
    before = cluster.adaptive
    if before is not None and before.policy == complete:
        return Step(cluster)
    if before is not None and before.policy.group == name:
        adaptive = replace(before, policy=complete, since=now)  # what was learnt of this group still holds
    else:
        adaptive = Adaptive(complete, since=now, target=cluster.group(name).desired)
    words = f"group {name!r} follows the work, from {complete.minimum} to {complete.maximum} workers"
    facts = {key: str(value) for key, value in complete.model_dump(exclude_none=True).items()}
    return Step(replace(cluster, adaptive=adaptive), (NewEvent("ADAPTED", words, actor, facts),))


def unadapted(cluster: Cluster, *, actor: str) -> Step:
    """A cluster without an adaptive policy; counts stay as they are.

    Raises
    ------
    ClusterNotRunning
        When the cluster is ending or has ended.
    """
    check_lives(cluster)
    if cluster.adaptive is None:
        return Step(cluster)
    name = cluster.adaptive.policy.group
    desired = cluster.group(group_name(cluster, name)).desired
    words = f"the adaptive policy is off; group {name!r} stays at {desired} workers"
    facts = {"group": name, "desired": str(desired)}
    return Step(replace(cluster, adaptive=None), (NewEvent("ADAPTIVE_OFF", words, actor, facts),))


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
    """The name of a group of the cluster; of the first for an empty one.

    Raises
    ------
    GroupNotFound
        When there is none; the words tell which there are.
    """
    names = [each.name for each in cluster.groups]
    if not group:
        return names[0]
    if group not in names:
        words = not_there("worker group", group, names)
        facts = {"group": group, "name": cluster.name}
        raise GroupNotFound(f"cluster {cluster.name!r}: {words}", facts=facts, problems=[Problem(field, words)])
    return group


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


def completed(policy: AdaptivePolicy, group: str, bounds: Bounds) -> tuple[AdaptivePolicy, list[Problem]]:
    """The policy with its group and its maximum decided, and what is wrong with it.

    Raises
    ------
    LimitExceeded
        When its maximum is more than the group may have.
    """
    allowed = min(bounds.group, bounds.cluster)
    if policy.maximum is not None and policy.maximum > allowed:
        raise _limit(f"the adaptive policy of group {group!r}", policy.maximum, allowed)
    maximum = min(bounds.adaptive, allowed) if policy.maximum is None else policy.maximum
    problems = []
    for field, value in (("minimum", policy.minimum), ("initial", policy.initial)):
        if value is not None and value > maximum:
            given = "the maximum" if policy.maximum is not None else "the maximum that holds when none is given,"
            problems.append(Problem(field, f"{field} {value} is more than {given} {maximum}: raise `maximum`"))
    if problems:
        return policy, problems
    return policy.model_copy(update={"group": group, "maximum": maximum}), []


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
