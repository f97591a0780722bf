"""Pure: what it takes to make a cluster be as a spec says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from pydantic import BaseModel

from daskd.model.cluster import Cluster
from daskd.model.errors import Problem, SpecImmutable
from daskd.model.problems import shown
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .desired import Bounds, Size, Step, adapted, check_lives, group_added, group_leaving, scaled

_Move: TypeAlias = Callable[[Cluster], Step]

_CHANGEABLE = frozenset({"n_workers", "adaptive"})
_SECRET = frozenset({"environment", "prologue", "options", "worker_options"})


def applied(cluster: Cluster, spec: ClusterSpec, *, actor: str, bounds: Bounds, now: float) -> Step:
    """A cluster that is as the spec says: groups added, removed, scaled, made adaptive or not; nothing if it is so.

    The order of groups is no difference, nor is the count of one that is adaptive and stays so.

    Parameters
    ----------
    spec
        Complete: its profile and the drivers' defaults were laid under it, as under the cluster's own.

    Raises
    ------
    SpecImmutable
        With a problem for each field that differs and can only be chosen at creation.
    ClusterNotRunning
        When the cluster is ending or has ended.
    GroupExists
        When a group of the spec is just being removed.
    LimitExceeded
        When it would be more than `bounds` allow.
    """
    check_lives(cluster)
    problems = [*_cluster_problems(cluster.spec, spec), *_group_problems(cluster, spec)]
    if problems:
        listed = "; ".join(f"{problem.field}: {problem.words}" for problem in problems)
        words = f"cluster {cluster.name!r} can't become so while it lives: {listed}"
        raise SpecImmutable(words, facts={"name": cluster.name, "field": problems[0].field}, problems=problems)
    step = Step(cluster)
    for move in _moves(cluster, spec, actor, bounds, now):
        following = move(step.cluster)
        step = Step(following.cluster, (*step.events, *following.events))
    return step


def _moves(cluster: Cluster, spec: ClusterSpec, actor: str, bounds: Bounds, now: float) -> Iterator[_Move]:
    """What is to be done, in an order in which nothing is counted beside what it takes the place of."""
    wanted = {group.name for group in spec.groups}
    going = {group.name for group in cluster.groups if group.removing}
    counts = {group.name: group.desired for group in cluster.groups if group.name not in going}
    for name in counts:
        if name not in wanted:
            yield partial(group_leaving, group=name, actor=actor)
    kept = [group for group in spec.groups if group.name in counts]
    for group in sorted(kept, key=lambda group: group.n_workers - counts[group.name]):
        yield _resized(group, actor, bounds, now)
    for group in spec.groups:
        if group.name not in counts:
            yield partial(group_added, spec=group, actor=actor, bounds=bounds, now=now)


def _resized(group: WorkerGroupSpec, actor: str, bounds: Bounds, now: float) -> _Move:
    if group.adaptive is None:
        return partial(scaled, group=group.name, size=Size(workers=group.n_workers), actor=actor, bounds=bounds)
    return partial(adapted, group=group.name, policy=group.adaptive, actor=actor, bounds=bounds, now=now)


def _cluster_problems(present: ClusterSpec, wanted: ClusterSpec) -> Iterator[Problem]:
    mend = "it can only be chosen at creation: leave it as it is, or delete and create"
    for field, now, then in _differences(present, wanted):
        is_default = field == "profile" and {now, then} == {"", "default"}
        if field != "groups" and not is_default:
            yield Problem(field, _words(field, now, mend))


def _group_problems(cluster: Cluster, wanted: ClusterSpec) -> Iterator[Problem]:
    for group in wanted.groups:
        present = cluster.spec.group(group.name)
        if present is None or cluster.group(group.name).removing:
            continue
        mend = f"it can only be chosen when group {group.name!r} is added: leave it as it is, or remove and add it"
        for field, now, _ in _differences(present, group):
            if field.partition(".")[0] not in _CHANGEABLE:
                yield Problem(f"groups.{group.name}.{field}", _words(field, now, mend))


def _differences(present: BaseModel, wanted: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """Fields that differ, those within a table by themselves, with both values."""
    for name in type(present).model_fields:
        now, then = getattr(present, name), getattr(wanted, name)
        if isinstance(now, BaseModel) and isinstance(then, BaseModel):
            for inner, *values in _differences(now, then):
                yield f"{name}.{inner}", values[0], values[1]
        elif now != then:
            yield name, now, then


def _words(field: str, now: Any, mend: str) -> str:
    if field.rpartition(".")[2] in _SECRET or not isinstance(now, (str, int, float)) or now == "":
        return mend
    return f"it is {shown(getattr(now, 'value', now))}, and {mend}"
