"""What an owner's clusters may take together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daskd.config import Config, parse_config
from daskd.control.quota import Usage, check_quotas, usage_of
from daskd.model.cluster import Adaptive, Cluster, Group
from daskd.model.errors import LimitExceeded
from daskd.model.spec import AdaptivePolicy, ClusterSpec, WorkerGroupSpec

GIB = 1 << 30


def cluster(uid: str, workers: int, *, nthreads: int = 2, memory: int = GIB, profile: str = "") -> Cluster:
    """A cluster of one group."""
    spec = ClusterSpec(profile=profile, groups=(WorkerGroupSpec(nthreads=nthreads, memory_limit=memory),))
    groups = (Group("default", desired=workers),)
    return Cluster(uid, uid, "ann", 1, spec, created=0, updated=0, groups=groups)


def config(toml: str) -> Config:
    """A configuration from its text."""
    return parse_config(toml, Path("daskd.toml"))


def test_an_adaptive_group_counts_with_its_maximum() -> None:
    """It may grow to that by itself, when nobody checks."""
    fixed = cluster("a", 3)
    policy = AdaptivePolicy(minimum=0, maximum=10)
    assert usage_of(fixed) == Usage(1, 3, 6, 3 * GIB)
    adaptive = replace(fixed.groups[0], adaptive=Adaptive(policy, since=0.0))
    assert usage_of(replace(fixed, groups=(adaptive,))) == Usage(1, 10, 20, 10 * GIB)
    assert usage_of(cluster("b", 1, memory=0)).unbounded


def test_workers_are_counted_as_they_are_launched() -> None:
    """Whoever asks for one worker of a job of two nodes with four has eight."""
    one = cluster("a", 1)
    group = one.spec.groups[0].model_copy(update={"nodes": 2, "workers_per_node": 4})
    wide = replace(one, spec=one.spec.model_copy(update={"groups": (group,)}))
    assert usage_of(wide) == Usage(1, 8, 16, 8 * GIB)
    with pytest.raises(LimitExceeded, match="max_workers"):
        check_quotas(config("[limits.user]\nmax_workers = 7\n"), [], None, wide)


@pytest.mark.parametrize(
    ("toml", "limit", "used", "asked"),
    [
        ("max_clusters = 1", "max_clusters", "1", "2"),
        ("max_workers = 6", "max_workers", "3", "7"),
        ("max_cores = 13", "max_cores", "6", "14"),
        ('max_memory = "6 GiB"', "max_memory", str(3 * GIB), str(7 * GIB)),
    ],
)
def test_what_is_hit_is_named_with_used_asked_and_allowed(toml: str, limit: str, used: str, asked: str) -> None:
    """Of all that a user has, and of a profile's alone."""
    for key, profile in (("limits.user", ""), ("profiles.p.user", "p")):
        bounded = config(f"[{key}]\n{toml}\n")
        with pytest.raises(LimitExceeded, match=f"{key}.{limit}") as caught:
            check_quotas(bounded, [cluster("a", 3, profile=profile)], None, cluster("b", 4, profile=profile))
        assert (caught.value.facts["used"], caught.value.facts["asked"]) == (used, asked)
    check_quotas(bounded, [cluster("a", 3)], None, cluster("b", 4))  # of another profile
    check_quotas(Config(), [cluster("a", 3)], None, cluster("b", 4))


def test_what_does_not_grow_is_not_refused() -> None:
    """Limits that were lowered end nothing, and let one shrink."""
    tight = config("[limits.user]\nmax_cores = 2\nmax_workers = 1\n")
    check_quotas(tight, [], cluster("a", 5), cluster("a", 4))
    check_quotas(tight, [], cluster("a", 5), cluster("a", 5))
    with pytest.raises(LimitExceeded, match="10 cores now, would take 12, and 2"):
        check_quotas(config("[limits.user]\nmax_cores = 2\n"), [], cluster("a", 5), cluster("a", 6))


def test_where_memory_is_limited_every_worker_has_a_limit() -> None:
    """One without could take any."""
    limited = config('[limits.user]\nmax_memory = "6 GiB"\n')
    with pytest.raises(LimitExceeded, match="memory_limit"):
        check_quotas(limited, [], None, cluster("a", 1, memory=0))
    check_quotas(limited, [], None, cluster("a", 0, memory=0))
