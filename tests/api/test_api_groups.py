"""AddWorkerGroup, RemoveWorkerGroup, ApplyCluster: checked as at creation, recorded as a whole or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import Any

import grpc
import pytest
from api_harness import OTHER_UID, USER, ask_token_as, refused

from daskd_api.v1 import cluster_pb2 as pb

BIG = pb.WorkerGroupSpec(name="big", n_workers=2, memory_limit="1GiB", resources={"MEM": 1})


@pytest.fixture
async def cluster(api: Any) -> pb.Cluster:
    """A cluster with two workers in its one group."""
    return await create(api, groups=[pb.WorkerGroupSpec(n_workers=2)])


async def create(api: Any, name: str = "etl", **spec: Any) -> pb.Cluster:
    request = pb.CreateClusterRequest(name=name, spec=pb.ClusterSpec(**spec))
    return (await api.clusters.CreateCluster(request, metadata=api.auth)).cluster


async def add(
    api: Any, group: pb.WorkerGroupSpec = BIG, auth: Any = None, name: str = "etl", **more: Any
) -> pb.Cluster:
    request = pb.AddWorkerGroupRequest(name=name, group=group, **more)
    return (await api.clusters.AddWorkerGroup(request, metadata=auth or api.auth)).cluster


async def remove(api: Any, group: str, auth: Any = None, name: str = "etl") -> pb.Cluster:
    request = pb.RemoveWorkerGroupRequest(name=name, group=group)
    return (await api.clusters.RemoveWorkerGroup(request, metadata=auth or api.auth)).cluster


async def apply(api: Any, spec: pb.ClusterSpec, name: str = "etl", **more: Any) -> pb.ApplyClusterResponse:
    request = pb.ApplyClusterRequest(name=name, spec=spec, **more)
    return await api.clusters.ApplyCluster(request, metadata=api.auth)


async def history(api: Any, uid: str) -> list[tuple[str, str]]:
    return [(event.type, event.actor) for event in await api.store.events(uid)]


async def test_a_group_is_added_and_removed(api, cluster):
    """Both are recorded with an event of the caller's, and the reconciler is woken; a repeat changes nothing."""
    first, second = await add(api), await add(api)

    assert [(group.name, group.desired) for group in first.groups] == [("default", 2), ("big", 2)]
    assert dict(first.spec.groups[1].resources) == {"MEM": 1}
    assert first.revision == second.revision

    first, second = await remove(api, "big"), await remove(api, "big")

    assert first.groups[1].removing
    assert first.revision == second.revision
    told = [("CREATED", USER), ("GROUP_ADDED", USER), ("GROUP_REMOVAL_REQUESTED", USER)]
    assert await history(api, cluster.uid) == told
    assert set(api.control.woken) == {cluster.uid}


async def test_a_group_is_only_checked_when_that_is_asked(api, cluster):
    """The answer shows what would be made, and nothing is recorded."""
    shown = await add(api, validate_only=True)

    assert [group.name for group in shown.groups] == ["default", "big"]
    assert await history(api, cluster.uid) == [("CREATED", USER)]


async def test_the_clusters_profile_lies_under_a_group(serve):
    """Its every-group defaults, those of its own group of that name, and what it fixes."""
    api = await serve(
        '[profiles.p]\nfixed = ["group.nthreads"]\n'
        '[profiles.p.spec.group]\nnthreads = 3\nenvironment = { LANG = "C" }\n'
        '[[profiles.p.spec.groups]]\nname = "default"\n'
        '[[profiles.p.spec.groups]]\nname = "big"\nmemory_limit = "2GiB"\n'
    )
    await create(api, profile="p")
    await remove(api, "big")
    await api.store.update((await only(api)).uid, _without_removed)

    group = (await add(api, pb.WorkerGroupSpec(name="big", environment={"A": "1"}))).spec.groups[1]

    assert (group.nthreads, group.memory_limit, dict(group.environment)) == (3, "2GiB", {"LANG": "C", "A": "1"})
    told = await refused(add(api, pb.WorkerGroupSpec(name="other", nthreads=1)))
    assert told.fields == {"group.nthreads": "the profile 'p' fixes it: leave it out"}


def _without_removed(now: Any) -> Any:
    """As the reconciler leaves a record when the last worker of a removed group has ended."""
    gone = {group.name for group in now.groups if group.removing}
    specs = tuple(group for group in now.spec.groups if group.name not in gone)
    groups = tuple(group for group in now.groups if group.name not in gone)
    return dataclasses.replace(now, groups=groups, spec=now.spec.model_copy(update={"groups": specs}))


async def only(api: Any) -> Any:
    (found,) = await api.store.live()
    return found


async def test_a_profile_may_fix_which_groups_there_are(serve):
    """Then none is added to its clusters."""
    api = await serve('[profiles.p]\nfixed = ["groups"]\nspec = {}\n')
    await create(api, profile="p")

    assert (await refused(add(api))).fields == {"group": "the profile 'p' fixes it: leave it out"}


@pytest.mark.parametrize(
    ("group", "field", "words"),
    [
        ({"name": "Big"}, "group.name", "lower-case"),
        ({"nthreads": -1}, "group.nthreads", "at least 1"),
        ({"driver": "queu"}, "group.driver", "did you mean 'queue'?"),
        ({"driver": "queue", "options": {"queue": "closed"}}, "group.options.queue", "takes no jobs"),
        ({"adaptive": pb.AdaptivePolicy(minimum=65)}, "group.adaptive.minimum", "raise `maximum`"),
        ({"worker_options": {"nthreads": 2}}, "group.worker_options", "say `nthreads` of the group"),
        ({"worker_class": "Worker"}, "group.worker_class", "names no class"),
        ({"environment": {"A": "x" * 1_100_000}}, "group.environment", "longer than 128 KiB"),
    ],
)
async def test_a_bad_group_is_refused_with_its_field(api, cluster, group, field, words):
    """As at creation: by its model, by its driver, by what the daemon sets itself; nothing is recorded."""
    told = await refused(add(api, pb.WorkerGroupSpec(**{"name": "new", **group})))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC")
    assert list(told.fields) == [field]
    assert words in told.fields[field]
    assert await history(api, cluster.uid) == [("CREATED", USER)]


async def test_options_that_the_daemon_sets_are_refused_of_a_scheduler(api):
    """With what to do instead."""
    scheduler = pb.SchedulerSpec()
    scheduler.options.update({"jupyter": True})

    told = await refused(create(api, scheduler=scheduler))

    assert list(told.fields) == ["scheduler.options"]
    assert "a shell as the cluster's owner" in told.words


async def test_another_group_of_the_name_and_the_last_one(api, cluster):
    """The one is not added, the other not removed."""
    await add(api)
    told = await refused(add(api, pb.WorkerGroupSpec(name="big", nthreads=2)))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GROUP_EXISTS")
    await remove(api, "big")
    assert "still being removed" in (await refused(add(api))).words
    assert "scale it to 0" in (await refused(remove(api, "default"))).words
    assert (await refused(remove(api, "bgi"))).reason == "GROUP_NOT_FOUND"


async def test_a_group_counts_against_the_quota(serve):
    """Of all clusters of its owner."""
    api = await serve("[limits.user]\nmax_workers = 3\n")
    await create(api, groups=[pb.WorkerGroupSpec(n_workers=2)])
    for validate_only in (True, False):
        told = await refused(add(api, validate_only=validate_only))
        assert (told.reason, told.facts["limit"]) == ("LIMIT_EXCEEDED", "limits.user.max_workers")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_who_may_not_connect_adds_no_group(serve):
    """A group names programs that run as the owner: to scale and end a cluster is not enough; to remove one it is."""
    api = await serve('[access]\noperators = ["nobody"]\n')
    await create(api, groups=[pb.WorkerGroupSpec(name="a"), pb.WorkerGroupSpec(name="b")])
    theirs = await other_user(api)

    told = await refused(add(api, auth=theirs, name=f"{USER}/etl"))

    assert (told.reason, told.facts["right"]) == ("NOT_ALLOWED", "use")
    assert (await remove(api, "b", auth=theirs, name=f"{USER}/etl")).groups[1].removing


async def other_user(api: Any) -> tuple[tuple[str, str], ...]:
    """Metadata with the token that another user was given."""
    token = await asyncio.to_thread(ask_token_as, api.directory / "s", OTHER_UID)
    return (("authorization", f"Bearer {token}"),)


async def test_apply_creates_changes_and_then_has_nothing_to_do(api):
    """The first makes it, the next changes its groups in one revision a change, the last finds it as it is."""
    one = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(n_workers=2)])
    two = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(n_workers=3), BIG])

    made = await apply(api, one)
    changed = await apply(api, two)
    again = await apply(api, two)

    assert list(made.changes) == ["cluster 'etl': created, 2 workers in group 'default'"]
    assert api.control.started == [made.cluster.uid]
    assert list(changed.changes) == [
        "group 'default' shall have 3 workers instead of 2",
        "group 'big': added, 2 workers",
    ]
    assert [(group.name, group.desired) for group in changed.cluster.groups] == [("default", 3), ("big", 2)]
    assert list(again.changes) == []
    assert again.cluster.revision == changed.cluster.revision


async def test_what_get_answers_can_be_applied(api):
    """A spec as the API shows it, defaults and all, is the cluster as it is."""
    spec = pb.ClusterSpec(
        groups=[
            pb.WorkerGroupSpec(n_workers=2, environment={"A": "1"}, worker_class="a.B", preload=["x"]),
            pb.WorkerGroupSpec(name="big", driver="queue", adaptive=pb.AdaptivePolicy(maximum_cores=4)),
        ],
        environment={"B": "2"},
        scheduler=pb.SchedulerSpec(preload=["y"], prologue=["export C=3"]),
    )
    spec.groups[0].worker_options.update({"lifetime": "1h", "validate": True})
    spec.idle_timeout.seconds = 7
    shown = (await create(api, **{f.name: v for f, v in spec.ListFields()})).spec

    assert list((await apply(api, shown)).changes) == []


async def test_apply_records_nothing_when_only_asked_what_would_change(api):
    """Neither a cluster nor a change of one."""
    spec = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(n_workers=2)])
    assert len((await apply(api, spec, validate_only=True)).changes) == 1
    assert await api.store.live() == []
    cluster = await create(api)

    would = await apply(api, spec, validate_only=True)

    assert list(would.changes) == ["group 'default' shall have 2 workers instead of 0"]
    assert would.cluster.groups[0].desired == 2
    assert await history(api, cluster.uid) == [("CREATED", USER)]


async def test_what_can_not_change_is_told_by_field_and_nothing_changes(api, cluster):
    """Neither the rest of the file, nor a part of it."""
    spec = pb.ClusterSpec(python="/opt/python", groups=[pb.WorkerGroupSpec(n_workers=5, nthreads=2)])

    told = await refused(apply(api, spec))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SPEC_IMMUTABLE")
    assert list(told.fields) == ["python", "groups.default.nthreads"]
    assert (await api.store.get(cluster.uid)).groups[0].desired == 2


async def test_a_profile_lies_under_what_is_applied(serve):
    """What the file leaves out, and the profile says, is no difference."""
    api = await serve('[profiles.default.spec]\npython = "/opt/p"\n[[profiles.default.spec.groups]]\nn_workers = 3\n')
    await create(api)

    assert list((await apply(api, pb.ClusterSpec())).changes) == []
    assert list((await apply(api, pb.ClusterSpec(profile="default"))).changes) == []


async def test_an_applied_cluster_needs_a_name(api):
    """By which the next apply finds it."""
    assert list((await refused(apply(api, pb.ClusterSpec(), name=""))).fields) == ["name"]


async def test_applies_at_once_make_one_cluster(api):
    """Of many equal ones, one creates, and the others find it as it is."""
    spec = pb.ClusterSpec(groups=[pb.WorkerGroupSpec(n_workers=2)])

    answers = await asyncio.gather(*(apply(api, spec) for _ in range(8)))

    assert len({answer.cluster.uid for answer in answers}) == 1
    assert sum(len(answer.changes) for answer in answers) == 1
