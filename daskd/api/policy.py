"""An adaptive policy from a request, under what its profile fixes."""

from __future__ import annotations

from pydantic import ValidationError

from daskd.config import Config
from daskd.model.errors import InvalidArgument, Problem
from daskd.model.problems import problems_of
from daskd.model.spec import AdaptivePolicy
from daskd_api.v1 import cluster_pb2 as pb

from .translate import sparse_adaptive


def read_policy(message: pb.AdaptivePolicy, profile: str, config: Config) -> AdaptivePolicy:
    """The policy that a request gives.

    Raises
    ------
    InvalidArgument
        With all that is wrong, a problem a field ("policy.minimum").
    """
    try:
        policy = AdaptivePolicy.model_validate(sparse_adaptive(message))
    except ValidationError as error:
        raise _invalid(problems_of(error, AdaptivePolicy, "policy")) from None
    if problems := _fixed_problems(policy, profile, config):
        raise _invalid(problems)
    return policy


def _fixed_problems(policy: AdaptivePolicy, name: str, config: Config) -> list[Problem]:
    profile = config.profile(name)
    if profile is None:
        return []
    base = profile.spec.adaptive or AdaptivePolicy()
    words = f"the profile {name or 'default'!r} fixes it"
    if "adaptive" in profile.fixed:
        return [Problem("policy", words)] if policy != base else []
    fields = [path.removeprefix("adaptive.") for path in profile.fixed if path.startswith("adaptive.")]
    return [
        Problem(f"policy.{field}", f"{words} at {getattr(base, field)}")
        for field in fields
        if getattr(policy, field, None) != getattr(base, field, None)
    ]


def _invalid(problems: list[Problem]) -> InvalidArgument:
    words = "; ".join(f"{problem.field}: {problem.words}" for problem in problems)
    return InvalidArgument(words, facts={"field": problems[0].field}, problems=problems)
