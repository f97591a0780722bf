"""How large a group shall be, from a request: a size, or an adaptive policy under what its profile fixes."""

from __future__ import annotations

from pydantic import ValidationError

from daskd.config import Config
from daskd.control.desired import Size
from daskd.model.errors import InvalidArgument, Problem
from daskd.model.problems import problems_of
from daskd.model.quantity import parse_size
from daskd.model.spec import AdaptivePolicy
from daskd_api.v1 import cluster_pb2 as pb

from .translate import sparse_adaptive


def read_policy(message: pb.AdaptivePolicy, group: str, profile: str, config: Config) -> AdaptivePolicy:
    """The policy that a request gives to a group of that name, in a cluster of that profile.

    Raises
    ------
    InvalidArgument
        With all that is wrong, a problem a field ("policy.minimum").
    """
    try:
        policy = AdaptivePolicy.model_validate(sparse_adaptive(message))
    except ValidationError as error:
        raise _invalid(problems_of(error, AdaptivePolicy, "policy")) from None
    if problems := _fixed_problems(policy, group, profile, config):
        raise _invalid(problems)
    return policy


def read_size(request: pb.ScaleClusterRequest) -> Size:
    """How much there shall be of a group; nothing said is no worker.

    Raises
    ------
    InvalidArgument
        When the memory is no size.
    """
    kind = request.WhichOneof("size")
    if kind != "memory":
        return Size(cores=request.cores) if kind == "cores" else Size(workers=request.n_workers)
    try:
        return Size(memory=0 if request.memory.strip() == "0" else parse_size(request.memory))
    except ValueError as error:
        raise _invalid([Problem("memory", str(error))]) from None


def _fixed_problems(policy: AdaptivePolicy, group: str, name: str, config: Config) -> list[Problem]:
    profile = config.profile(name)
    if profile is None:
        return []
    of_group = next((each for each in profile.spec.groups if each.name == group), None)
    base = (of_group and of_group.adaptive) or profile.spec.every_group.adaptive or AdaptivePolicy()
    words = f"the profile {name or 'default'!r} fixes it"
    prefix = "group.adaptive"
    if prefix in profile.fixed:
        return [Problem("policy", words)] if policy != base else []
    fields = [path.removeprefix(f"{prefix}.") for path in profile.fixed if path.startswith(f"{prefix}.")]
    return [
        Problem(f"policy.{field}", f"{words} at {getattr(base, field)}")
        for field in fields
        if getattr(policy, field, None) != getattr(base, field, None)
    ]


def _invalid(problems: list[Problem]) -> InvalidArgument:
    words = "; ".join(f"{problem.field}: {problem.words}" for problem in problems)
    return InvalidArgument(words, facts={"field": problems[0].field}, problems=problems)
