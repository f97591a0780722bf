"""Scale, adapt, delete: the desired state changes on disk, its history tells who, and the reconciler wakes."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import grpc
import pytest
from api_harness import USER, refused
from google.protobuf.duration_pb2 import Duration

from daskd.model.cluster import Phase
from daskd_api.v1 import cluster_pb2 as pb


@pytest.fixture
async def cluster(api) -> pb.Cluster:
    """Two groups, the first with two workers."""
    groups = [pb.WorkerGroupSpec(n_workers=2), pb.WorkerGroupSpec(name="big", driver="queue")]
    return await create(api, groups=groups)


async def create(api: Any, name: str = "etl", **spec: Any) -> pb.Cluster:
    request = pb.CreateClusterRequest(name=name, spec=pb.ClusterSpec(**spec))
    return (await api.clusters.CreateCluster(request, metadata=api.auth)).cluster


async def scale(api: Any, n: int, group: str = "", name: str = "etl") -> pb.Cluster:
    request = pb.ScaleClusterRequest(name=name, n_workers=n, group=group)
    return (await api.clusters.ScaleCluster(request, metadata=api.auth)).cluster


async def adapt(api: Any, group: str = "", **policy: Any) -> pb.Cluster:
    request = pb.AdaptClusterRequest(name="etl", group=group, policy=pb.AdaptivePolicy(**policy))
    return (await api.clusters.AdaptCluster(request, metadata=api.auth)).cluster


async def adapt_off(api: Any) -> pb.Cluster:
    return (await api.clusters.AdaptCluster(pb.AdaptClusterRequest(name="etl"), metadata=api.auth)).cluster


async def delete(api: Any, name: str = "etl") -> pb.Cluster:
    return (await api.clusters.DeleteCluster(pb.DeleteClusterRequest(name=name), metadata=api.auth)).cluster


async def history(api: Any, uid: str) -> list[tuple[str, str]]:
    return [(event.type, event.actor) for event in await api.store.events(uid)]


async def end(api: Any, uid: str) -> None:
    await api.store.update(uid, lambda now: dataclasses.replace(now, ended=1.0, phase=Phase.STOPPED, message="gone"))


async def test_scale_changes_the_desired_count(api, cluster):
    """The new count is recorded with an event of the caller's, and the reconciler is woken."""
    answer = await scale(api, 7)

    recorded = await api.store.get(cluster.uid)
    assert [group.desired for group in recorded.groups] == [7, 0]
    assert answer.groups[0].desired == 7
    assert await history(api, cluster.uid) == [("CREATED", USER), ("SCALED", USER)]
    assert api.control.woken == [cluster.uid]


async def test_scale_to_zero_is_fine(api, cluster):
    """No worker at all is a number of workers."""
    assert (await scale(api, 0)).groups[0].desired == 0


async def test_scaling_to_the_same_count_changes_nothing(api, cluster):
    """What is so already makes no event and no revision."""
    before = (await api.store.get(cluster.uid)).revision

    assert (await scale(api, 2)).revision == before


async def test_scale_turns_the_adaptive_policy_off(api, cluster):
    """A fixed count ends the group's policy, and the event says so."""
    await adapt(api, minimum=1, maximum=4)

    answer = await scale(api, 2)

    assert not answer.groups[0].HasField("adaptive")
    last = (await api.store.events(cluster.uid))[-1]
    assert (last.type, last.facts["adaptive_off"]) == ("SCALED", "true")
    assert "adaptive policy is off" in last.message


async def test_scaling_one_group_leaves_the_policy_of_another(api, cluster):
    """Only the scaled group's own policy ends."""
    await adapt(api, "big", maximum=4)

    assert [group.HasField("adaptive") for group in (await scale(api, 3)).groups] == [False, True]


async def test_concurrent_scales_are_all_recorded(api, cluster):
    """Each of many calls at once leaves its event; the last revision holds one of their counts."""
    await asyncio.gather(*(scale(api, n) for n in range(10, 30)))

    assert sum(kind == "SCALED" for kind, _ in await history(api, cluster.uid)) == 20


@pytest.mark.parametrize(
    ("n", "group", "code", "reason", "words"),
    [
        (-1, "", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "-1 is out of range"),
        (1, "bgi", grpc.StatusCode.NOT_FOUND, "GROUP_NOT_FOUND", "did you mean 'big'?"),
        (1001, "", grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "1000 are allowed"),
        (2**31 - 1, "big", grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "1000 are allowed"),
        (999, "big", grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "1001 workers"),
    ],
)
async def test_a_bad_scale_is_refused_and_records_nothing(api, cluster, n, group, code, reason, words):
    """The refusal names what is wrong; the count stays, and the history tells at most that a call was refused."""
    request = pb.ScaleClusterRequest(name="etl", n_workers=n, group=group)

    told = await refused(api.clusters.ScaleCluster(request, metadata=api.auth))

    assert (told.code, told.reason) == (code, reason)
    assert words in told.words
    assert {event for event, _ in await history(api, cluster.uid)} <= {"CREATED", "CALL_REFUSED"}


async def test_adapt_sets_the_policy_as_a_whole(api, cluster):
    """A new policy replaces the one before; a missing maximum is the configuration's."""
    await adapt(api, minimum=1, wait_count=7)

    answer = await adapt(api, interval=Duration(seconds=2))

    policy = answer.groups[0].adaptive.policy
    assert (policy.minimum, policy.maximum, policy.interval.seconds) == (0, 64, 2)
    assert not policy.HasField("wait_count")
    assert (await history(api, cluster.uid))[1:] == [("ADAPTED", USER), ("ADAPTED", USER)]


async def test_the_same_policy_again_changes_nothing(api, cluster):
    """What the policy has learnt is not lost to a repeat."""
    first = await adapt(api, minimum=1)

    assert (await adapt(api, minimum=1)).revision == first.revision


async def test_adapt_without_a_policy_turns_it_off(api, cluster):
    """The counts stay; off again changes nothing."""
    await adapt(api, maximum=4)

    first, second = await adapt_off(api), await adapt_off(api)

    assert not first.groups[0].HasField("adaptive")
    assert first.groups[0].desired == 2
    assert first.revision == second.revision


@pytest.mark.parametrize(
    ("policy", "field", "words"),
    [
        ({"minimum": -1}, "policy.minimum", "it must be at least 0"),
        ({"minimum": 3, "maximum": 2}, "policy", "minimum 3 is more than maximum 2"),
        ({"minimum": 65}, "policy.minimum", "raise `maximum`"),
        ({"initial": 9, "maximum": 8}, "policy.initial", "initial 9 is more than the maximum 8"),
        ({"interval": Duration(nanos=1)}, "policy.interval", "it must be at least 0.1"),
        ({"target_duration": Duration()}, "policy.target_duration", "it must be more than 0"),
        ({"wait_count": -1}, "policy.wait_count", "it must be at least 0"),
    ],
)
async def test_a_bad_policy_is_refused_with_its_field(api, cluster, policy, field, words):
    """Each bad field of a policy is a violation, in words."""
    request = pb.AdaptClusterRequest(name="etl", policy=pb.AdaptivePolicy(**policy))

    told = await refused(api.clusters.AdaptCluster(request, metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert list(told.fields) == [field]
    assert words in told.fields[field]


async def test_a_maximum_over_the_limit_is_refused(api, cluster):
    """A policy may not reach beyond what the cluster may have."""
    request = pb.AdaptClusterRequest(name="etl", policy=pb.AdaptivePolicy(maximum=1001))

    told = await refused(api.clusters.AdaptCluster(request, metadata=api.auth))

    assert (told.reason, told.facts["allowed"]) == ("LIMIT_EXCEEDED", "1000")


async def test_a_policy_for_an_unknown_group_is_refused(api, cluster):
    """The group's name is checked, and the near one named."""
    request = pb.AdaptClusterRequest(name="etl", group="bigg", policy=pb.AdaptivePolicy())

    told = await refused(api.clusters.AdaptCluster(request, metadata=api.auth))

    assert told.reason == "GROUP_NOT_FOUND"
    assert "did you mean 'big'?" in told.words


async def test_a_profile_may_fix_the_policy(serve):
    """What a profile fixes of the policy can't be changed later either."""
    spec = "spec = { group = { adaptive = { maximum = 4 } } }"
    api = await serve(f'[profiles.p]\nfixed = ["group.adaptive.maximum"]\n{spec}')
    await create(api, profile="p")

    request = pb.AdaptClusterRequest(name="etl", policy=pb.AdaptivePolicy(maximum=5))
    told = await refused(api.clusters.AdaptCluster(request, metadata=api.auth))

    assert told.fields == {"policy.maximum": "the profile 'p' fixes it at 4"}


async def test_delete_asks_for_the_end_once(api, cluster):
    """The first call records who asked; repeats, also by uid and after the end, change nothing."""
    first, second = await delete(api), await delete(api)
    await end(api, cluster.uid)
    third = await delete(api, cluster.uid)

    assert first.delete_requested
    assert first.revision == second.revision
    assert third.HasField("end_time")
    assert (await history(api, cluster.uid))[1:] == [("DELETE_REQUESTED", USER)]


@pytest.mark.parametrize("ended", [False, True])
async def test_an_ending_cluster_takes_no_change(api, cluster, ended):
    """Scale and adapt of a cluster that ends or has ended are refused with why it does."""
    await delete(api)
    if ended:
        await end(api, cluster.uid)

    for call in (
        api.clusters.ScaleCluster(pb.ScaleClusterRequest(name=cluster.uid, n_workers=1), metadata=api.auth),
        api.clusters.AdaptCluster(
            pb.AdaptClusterRequest(name=cluster.uid, policy=pb.AdaptivePolicy()), metadata=api.auth
        ),
    ):
        told = await refused(call)
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLUSTER_NOT_RUNNING")
        assert f"deleted by {USER}" in told.words


async def test_an_ended_clusters_name_is_free(api, cluster):
    """The name goes to a new cluster; the ended one is reached by uid alone."""
    await end(api, cluster.uid)

    second = await create(api)
    by_name = await api.clusters.GetCluster(pb.GetClusterRequest(name="etl"), metadata=api.auth)
    by_uid = await api.clusters.GetCluster(pb.GetClusterRequest(name=cluster.uid), metadata=api.auth)

    assert (by_name.cluster.uid, by_uid.cluster.uid) == (second.uid, cluster.uid)


async def test_growth_is_bounded_by_what_the_owner_has(serve):
    """Creating, scaling and adapting are refused past what all clusters of a user may take; shrinking never is."""
    api = await serve("[limits.user]\nmax_cores = 4\n")
    spec = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(n_workers=1, nthreads=2)])
    for name in ("a", "b"):
        await api.clusters.CreateCluster(pb.CreateClusterRequest(name=name, spec=spec), metadata=api.auth)
    for validate_only in (True, False):
        third = pb.CreateClusterRequest(name="c", spec=spec, validate_only=validate_only)
        told = await refused(api.clusters.CreateCluster(third, metadata=api.auth))
        assert (told.reason, told.facts["limit"]) == ("LIMIT_EXCEEDED", "limits.user.max_cores")
    for call in (
        api.clusters.ScaleCluster(pb.ScaleClusterRequest(name="a", n_workers=2), metadata=api.auth),
        api.clusters.AdaptCluster(
            pb.AdaptClusterRequest(name="a", policy=pb.AdaptivePolicy(maximum=2)), metadata=api.auth
        ),
    ):
        assert (await refused(call)).facts["used"] == "4"
    await api.clusters.ScaleCluster(pb.ScaleClusterRequest(name="b", n_workers=0), metadata=api.auth)
    await api.clusters.ScaleCluster(pb.ScaleClusterRequest(name="a", n_workers=2), metadata=api.auth)
