"""From a request and a profile to a spec that is known to be good. Pure, but for what a driver's check reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from daskd.config import Config, Profile
from daskd.control.desired import Bounds, check_counts, completed, new_group
from daskd.model.cluster import Cluster
from daskd.model.errors import InvalidSpec, Problem
from daskd.model.identity import Identity
from daskd.model.names import check_name, new_uid
from daskd.model.problems import not_there, problems_of, shown
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import DriverInfo

from .checks import driver_problems
from .placing import decided, scheduler_problems, without_foreign_options
from .translate import spec_message

_FIXED = "the profile {!r} fixes it: leave it out"

MOST_SPEC_BYTES = 1 << 20
"""The largest spec, as protobuf: an environment that is larger could not be given to a process either."""


@dataclass(frozen=True, slots=True)
class _Laid:
    """A group as laid over the profile's, what the profile alone says of it, and where the user wrote it."""

    group: dict[str, Any]
    under: dict[str, Any]
    path: str


def bounds_of(config: Config, profile: str) -> Bounds:
    """The most workers that clusters of a profile may have."""
    return Bounds(
        group=config.group_limit(profile), cluster=config.limits.max_workers, adaptive=config.adaptive.maximum
    )


def name_problems(name: str) -> list[Problem]:
    """What is wrong with a cluster's name; an empty one is fine, for one is made up then."""
    if not name:
        return []
    try:
        check_name(name)
    except ValueError as error:
        return [Problem("name", str(error))]
    return []


def build_spec(
    asked: Mapping[str, Any], config: Config, drivers: Mapping[str, DriverInfo], who: Identity
) -> ClusterSpec:
    """The spec that a request means, after its profile was laid under it.

    Parameters
    ----------
    asked
        What the request sets, and nothing else (`translate.sparse_spec`).
    who
        For whom the drivers check it.

    Raises
    ------
    InvalidSpec
        With all that is wrong, a problem a field.
    LimitExceeded
        When it has more workers than the profile or the configuration allow.
    """
    name = str(asked.get("profile", ""))
    profile = config.profile(name)
    if profile is None and name:
        raise invalid([Problem("profile", not_there("profile", name, config.profiles))])
    defaults = profile.defaults() if profile is not None else {}
    laid = _lay_groups(defaults, asked.get("groups", []))
    problems = _group_name_problems(laid)
    if problems:
        raise invalid(problems)
    spec = _validated(_merged_spec(defaults, asked, laid), laid)
    if profile is not None:
        problems += _fixed_problems(spec, name or "default", profile, defaults, laid)
    for group, where in zip(spec.groups, laid, strict=True):
        problems += [_under(where.path, each) for each in driver_problems(group, drivers, who)]
    problems += scheduler_problems(spec, drivers, who)
    problems = problems or _size_problems(spec)
    bounds = bounds_of(config, name)
    if problems:
        raise invalid(problems)
    groups = tuple(_completed(group, drivers) for group in spec.groups)
    problems = [
        _under(f"{where.path}.adaptive", each)
        for group, where in zip(groups, laid, strict=True)
        for each in adaptive_problems(group, bounds)
    ]
    if problems:
        raise invalid(problems)
    check_counts([(group.name, group.launched_for(group.n_workers)) for group in groups], bounds)
    scheduler = decided(spec, drivers)
    told = spec.warning if spec.max_lifetime is not None else spec.lifetime_warning
    return spec.model_copy(update={"groups": groups, "scheduler": scheduler, "lifetime_warning": told})


def _completed(group: WorkerGroupSpec, drivers: Mapping[str, DriverInfo]) -> WorkerGroupSpec:
    """With what its driver decides; how many nodes an instance holds is no profile's to say."""
    return drivers[group.driver].complete(group.model_copy(update={"nodes": 1}))


def build_group(
    asked: Mapping[str, Any], spec: ClusterSpec, config: Config, drivers: Mapping[str, DriverInfo], who: Identity
) -> WorkerGroupSpec:
    """The worker group that a request means to add to a cluster, after the cluster's profile was laid under it.

    Parameters
    ----------
    asked
        What the request sets, and nothing else (`translate.sparse_group`).
    spec
        The cluster's.
    who
        For whom the driver checks it: the cluster's owner.

    Raises
    ------
    InvalidSpec
        With all that is wrong, a problem a field ("group.memory_limit").
    LimitExceeded
        When its adaptive policy reaches for more than the profile or the configuration allow.
    """
    profile = config.profile(spec.profile)
    if profile is None and spec.profile:
        words = f"the cluster's profile {spec.profile!r} is no more: ask the administrator for it"
        raise invalid([Problem("profile", words)])
    defaults = profile.defaults() if profile is not None else {}
    laid = [_lay(defaults, asked, asked.get("name") or "default", "group")]
    (group,) = _validated({"groups": [laid[0].group]}, laid).groups
    problems = [_under("group", each) for each in driver_problems(group, drivers, who)]
    if profile is not None:
        problems += _fixed_group_problems((group,), spec.profile or "default", profile, defaults, laid)
    problems = problems or _size_problems(spec.model_copy(update={"groups": (*spec.groups, group)}))
    if problems:
        raise invalid(problems)
    group = _completed(group, drivers)
    if problems := adaptive_problems(group, bounds_of(config, spec.profile)):
        raise invalid(_under("group.adaptive", each) for each in problems)
    return group


def adaptive_problems(group: WorkerGroupSpec, bounds: Bounds) -> list[Problem]:
    """What is wrong with a group's adaptive policy; fields relative to it.

    Raises
    ------
    LimitExceeded
        When its maximum is more than the group may have.
    """
    return completed(group.adaptive, group, bounds)[1] if group.adaptive is not None else []


def is_open(spec: ClusterSpec, config: Config) -> bool:
    """Whether the profile of a spec says that everybody may read its clusters' dashboards."""
    profile = config.profile(spec.profile)
    return profile is not None and profile.dashboard_open_to_every_local_user


def guarded(spec: ClusterSpec, asked: Mapping[str, Any], config: Config) -> ClusterSpec:
    """The spec as a user other than the daemon's own may have it where the daemon serves no dashboards.

    It has no dashboard then: it would be open to everybody.

    Raises
    ------
    InvalidSpec
        When a dashboard is asked for, and the profile does not say that everybody may read it.
    """
    if is_open(spec, config):
        return spec
    if asked.get("dashboard"):
        words = (
            "this daemon serves many users, and Dask's dashboard asks nobody who they are: leave it out, or have the "
            "administrator set `web.listen`, or `dashboard_open_to_every_local_user` in a profile"
        )
        raise invalid([Problem("dashboard", words)])
    return spec.model_copy(update={"dashboard": False})


def new_cluster(
    name: str,
    spec: ClusterSpec,
    owner: Identity,
    bounds: Bounds,
    now: float,
    *,
    uid: str | None = None,
    proxied: bool = False,
) -> Cluster:
    """The record of a cluster that was just asked for.

    Parameters
    ----------
    now
        In unix seconds.
    uid
        None: a new one.
    proxied
        Its dashboard, if it has one, is served by the daemon alone.
    """
    return Cluster(
        uid=new_uid() if uid is None else uid,
        name=name,
        owner=owner.name,
        owner_uid=owner.uid,
        spec=spec,
        created=now,
        updated=now,
        groups=tuple(new_group(group, bounds, now) for group in spec.groups),
        dashboard_proxied=proxied and spec.dashboard,
    )


def invalid(problems: Iterable[Problem]) -> InvalidSpec:
    """The error that tells of these problems."""
    found = tuple(problems)
    listed = "; ".join(f"{problem.field}: {problem.words}" for problem in found)
    words = listed if len(found) == 1 else f"{len(found)} things are wrong: {listed}"
    return InvalidSpec(words, facts={"field": found[0].field}, problems=found)


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`: tables are merged, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = overlay(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _lay_groups(defaults: Mapping[str, Any], asked: list[dict[str, Any]]) -> list[_Laid]:
    """Every group of the profile and of the request. One without a name is laid over the profile's first."""
    of_profile = _groups_of(defaults)
    first = next(iter(of_profile), "default")
    laid: dict[str, _Laid] = {
        name: _Laid(group, group, f"profile.groups[{i}]") for i, (name, group) in enumerate(of_profile.items())
    }
    twice: list[_Laid] = []
    for i, group in enumerate(asked):
        name = group.get("name") or first
        entry = _lay(defaults, group, name, f"groups[{i}]")
        if name in laid and laid[name].path.startswith("groups["):
            twice.append(entry)
        else:
            laid[name] = entry
    if not laid:
        return [_lay(defaults, {}, first, "groups[0]")]
    return [*laid.values(), *twice]


def _groups_of(defaults: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The profile's own groups by name, over what it says of every group."""
    every = defaults.get("every_group", {})
    named = {group.get("name", "default"): group for group in defaults.get("groups", ())}
    return {name: overlay(every, {**group, "name": name}) for name, group in named.items()}


def _lay(defaults: Mapping[str, Any], group: Mapping[str, Any], name: str, path: str) -> _Laid:
    """A group over the profile's of that name, or else over what the profile says of every group."""
    under = _groups_of(defaults).get(name, {**defaults.get("every_group", {}), "name": name})
    return _Laid(overlay(_without_foreign_options(under, group), {**group, "name": name}), under, path)


def _without_foreign_options(under: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    # options are one driver's own: another driver's, chosen by the request, would not know them
    same = group.get("driver", under.get("driver")) == under.get("driver")
    return {key: value for key, value in under.items() if same or key != "options"}


def _group_name_problems(laid: list[_Laid]) -> list[Problem]:
    names = [entry.group["name"] for entry in laid]
    return [
        Problem(f"{entry.path}.name", f"two groups are called {shown(name)}: give each a name of its own")
        for i, (name, entry) in enumerate(zip(names, laid, strict=True))
        if name in names[:i]
    ]


def _merged_spec(defaults: Mapping[str, Any], asked: Mapping[str, Any], laid: list[_Laid]) -> dict[str, Any]:
    own = {key: value for key, value in defaults.items() if key not in ("every_group", "groups")}
    if "scheduler" in own:
        own["scheduler"] = without_foreign_options(own["scheduler"], asked.get("scheduler", {}))
    merged = overlay(own, {key: value for key, value in asked.items() if key != "groups"})
    for name in ("idle_timeout", "max_lifetime"):
        if merged.get(name) == 0:
            merged[name] = None
    return {**merged, "groups": [entry.group for entry in laid]}


def _validated(raw: Mapping[str, Any], laid: list[_Laid]) -> ClusterSpec:
    try:
        return ClusterSpec.model_validate(raw)
    except ValidationError as error:
        raise invalid(_relabelled(problems_of(error, ClusterSpec), laid)) from None


def _relabelled(problems: list[Problem], laid: list[_Laid]) -> list[Problem]:
    """The same, with the groups' places as the user wrote them instead of as they lie over the profile's."""
    places = {f"groups[{i}]": entry.path for i, entry in enumerate(laid)}
    relabelled = []
    for problem in problems:
        place, dot, rest = problem.field.partition(".")
        field = f"{places.get(place, place)}{dot}{rest}" or "spec"
        relabelled.append(Problem(field, problem.words))
    return relabelled


def _fixed_problems(
    spec: ClusterSpec, name: str, profile: Profile, defaults: Mapping[str, Any], laid: list[_Laid]
) -> list[Problem]:
    base = ClusterSpec.model_validate(
        {key: value for key, value in defaults.items() if key not in ("every_group", "groups")}
    )
    problems = [
        Problem(path, _FIXED.format(name))
        for path in profile.fixed
        if not _is_of_groups(path) and _at(spec, path) != _at(base, path)
    ]
    return problems + _fixed_group_problems(spec.groups, name, profile, defaults, laid)


def _fixed_group_problems(
    groups: Iterable[WorkerGroupSpec], name: str, profile: Profile, defaults: Mapping[str, Any], laid: list[_Laid]
) -> list[Problem]:
    words = _FIXED.format(name)
    problems = []
    for path in filter(_is_of_groups, profile.fixed):
        if path == "groups":
            problems += [Problem(entry.path, words) for entry in laid if entry.under.get("name") not in _own(defaults)]
            continue
        for group, entry in zip(groups, laid, strict=True):
            under = WorkerGroupSpec.model_validate(entry.under)
            if _at(group, path[6:]) != _at(under, path[6:]):
                problems.append(Problem(f"{entry.path}.{path[6:]}", words))
    return problems


def _is_of_groups(path: str) -> bool:
    return path == "groups" or path.startswith("group.")


def _own(defaults: Mapping[str, Any]) -> list[str]:
    return [group.get("name", "default") for group in defaults.get("groups", ())] or ["default"]


def _at(model: BaseModel, path: str) -> Any:
    here: Any = model
    for part in path.split("."):
        here = here.get(part) if isinstance(here, Mapping) else getattr(here, part, None)
    return here


def _size_problems(spec: ClusterSpec) -> list[Problem]:
    size = spec_message(spec).ByteSize()
    if size <= MOST_SPEC_BYTES:
        return []
    return [Problem("spec", f"it is {size} bytes large, and {MOST_SPEC_BYTES} are allowed: shorten its environments")]


def _under(prefix: str, problem: Problem) -> Problem:
    return Problem(f"{prefix}.{problem.field}" if problem.field else prefix, problem.words)
