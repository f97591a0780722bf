"""CreateCluster: what is refused and how, what profiles lay under a spec, and that a retry makes nothing twice."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from api_harness import refused
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from daskd.model.names import check_name
from daskd_api.v1 import cluster_pb2 as pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def request(name: str = "etl", *, request_id: str = "", validate_only: bool = False, **spec: Any) -> Any:
    return pb.CreateClusterRequest(
        name=name, request_id=request_id, validate_only=validate_only, spec=pb.ClusterSpec(**spec)
    )


def one_group(**group: Any) -> dict[str, Any]:
    return {"groups": [pb.WorkerGroupSpec(**group)]}


def options(**values: Any) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


async def create(api: Any, name: str = "etl", **rest: Any) -> pb.Cluster:
    return (await api.clusters.CreateCluster(request(name, **rest), metadata=api.auth)).cluster


async def refused_create(api: Any, name: str = "etl", **rest: Any) -> Any:
    return await refused(api.clusters.CreateCluster(request(name, **rest), metadata=api.auth))


async def test_a_cluster_is_recorded_before_the_call_returns_and_then_started(api):
    """The answer's cluster is in the store, with its first event, and its reconciler was started."""
    cluster = await create(api, **one_group(n_workers=3, nthreads=2, memory_limit="1GiB"))

    recorded = await api.store.get(cluster.uid)
    assert (recorded.name, recorded.groups[0].desired, recorded.spec.groups[0].memory_limit) == ("etl", 3, 1 << 30)
    assert cluster.phase == pb.PHASE_PENDING
    assert [event.type for event in await api.store.events(cluster.uid)] == ["CREATED"]
    assert api.control.started == [cluster.uid]


async def test_what_is_left_to_the_system_is_decided_by_its_driver(api):
    """The recorded spec has the driver's decision in place of "auto"."""
    cluster = await create(api, **one_group(driver="sized"))

    assert cluster.spec.groups[0].memory_limit == "5"


async def test_a_cluster_without_a_name_gets_one(api):
    """An empty name is made up, legal and the cluster's own."""
    first, second = await create(api, ""), await create(api, "")

    assert check_name(first.name) != check_name(second.name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 64, "64 characters"),
        ("../x", "'../x' is none"),
        ("a b", "'a b' is none"),
        ("a\x00b", r"'a\x00b' is none"),
        ("a\nb", r"'a\nb' is none"),
        ("étl", "'étl' is none"),
        ("\u0430bc", "is none"),
        ("Etl", "'Etl' is none"),
        ("etl-", "'etl-' is none"),
        ("1etl", "'1etl' is none"),
        ("etl\n", "is none"),
    ],
)
async def test_a_bad_name_is_refused_with_the_rule(api, name, words):
    """Whatever is no name is refused in the field `name`, with what a name is."""
    told = await refused_create(api, name)

    assert (told.code, told.reason) == (INVALID, "INVALID_SPEC")
    assert words in told.fields["name"]
    assert "lower-case letter" in told.fields["name"]


async def test_a_taken_name_is_refused(api):
    """A second live cluster of the same name is ALREADY_EXISTS."""
    await create(api)

    told = await refused_create(api)

    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CLUSTER_EXISTS")
    assert "'etl'" in told.words


BAD_SPECS = [
    (one_group(n_workers=-1), "groups[0].n_workers", "-1 is out of range: it must be at least 0"),
    (one_group(n_workers=2**31 - 1), "groups[0].n_workers", "it must be at most 100000"),
    (one_group(nthreads=-2), "groups[0].nthreads", "it must be at least 1"),
    (one_group(workers_per_node=-1), "groups[0].workers_per_node", "it must be at least 1"),
    (one_group(memory_limit="12 parsecs"), "groups[0].memory_limit", '"4GiB"'),
    (one_group(memory_limit="-1GiB"), "groups[0].memory_limit", "'-1GiB'"),
    (one_group(driver="lcal"), "groups[0].driver", "did you mean 'local'?"),
    (one_group(driver="zzz"), "groups[0].driver", "there are: away, local, queue, sized"),
    (one_group(driver="away"), "groups[0].driver", "its program is missing: install it"),
    (one_group(options=options(queue="x")), "groups[0].options.queue", "this driver has none"),
    (one_group(driver="queue", options=options(qeue="x")), "groups[0].options.qeue", "did you mean 'queue'?"),
    (one_group(driver="queue", options=options(nodes="x")), "groups[0].options.nodes", "write a whole number"),
    (one_group(driver="queue", options=options(queue="closed")), "groups[0].options.queue", "use another"),
    (one_group(driver="queue", options=options(nodes=float("inf"))), "groups[0].options", "finite"),
    (one_group(name="Big"), "groups[0].name", "'Big' is none"),
    (one_group(resources={"GPU": -1.0}), "groups[0].resources", "'GPU': -1.0"),
    (one_group(death_timeout=Duration(seconds=-5)), "groups[0].death_timeout", "is no duration"),
    (one_group(local_directory="scratch"), "groups[0].local_directory", "is not absolute"),
    ({"profile": "nix"}, "profile", "there is no profile 'nix': there are none"),
    ({"cwd": "here"}, "cwd", "is not absolute"),
    ({"environment": {"A B": "1"}}, "environment", "'A B' is no name of an environment variable"),
    ({"environment": {"DASKD_X": "1"}}, "environment", "the daemon's own"),
    ({"idle_timeout": Duration(seconds=-1)}, "idle_timeout", "is no duration"),
    (
        one_group(adaptive=pb.AdaptivePolicy(minimum=5, maximum=2)),
        "groups[0].adaptive",
        "minimum 5 is more than maximum 2",
    ),
    (one_group(adaptive=pb.AdaptivePolicy(minimum=65)), "groups[0].adaptive.minimum", "raise `maximum`"),
    (one_group(worker_class="Worker"), "groups[0].worker_class", "names no class"),
    (
        one_group(adaptive=pb.AdaptivePolicy(maximum_memory="4GiB"), memory_limit="0"),
        "groups[0].adaptive.maximum_memory",
        "no memory limit",
    ),
    ({"scheduler": pb.SchedulerSpec(placement="moon")}, "scheduler.placement", "'embedded' or 'driver'"),
    ({"held_work": pb.HeldWorkPolicy(memory_share=1.5)}, "held_work.memory_share", "it must be at most 1"),
    ({"groups": [pb.WorkerGroupSpec(), pb.WorkerGroupSpec(name="default")]}, "groups[1].name", "two groups"),
    ({"environment": {f"V{i}": "x" * 100_000 for i in range(11)}}, "spec", "shorten its environments"),
]


@pytest.mark.parametrize(("spec", "field", "words"), BAD_SPECS, ids=[f"{c[1]}-{i}" for i, c in enumerate(BAD_SPECS)])
async def test_a_bad_field_is_refused_with_its_place_and_the_mend(api, spec, field, words):
    """Each bad field is a violation of its own, in words that are the user's, and nothing is recorded."""
    told = await refused_create(api, **spec)

    assert (told.code, told.reason) == (INVALID, "INVALID_SPEC")
    assert list(told.fields) == [field]
    assert words in told.fields[field]
    assert "pydantic" not in told.words
    assert "http" not in told.words
    assert await api.store.count_live(None) == 0


async def test_all_that_is_wrong_is_told_at_once(api):
    """Name and spec are checked together: one answer has every violation."""
    told = await refused_create(api, "A B", **one_group(nthreads=-1, memory_limit="much"))

    assert set(told.fields) == {"name", "groups[0].nthreads", "groups[0].memory_limit"}


async def test_very_many_problems_still_make_an_answer(api):
    """More violations than gRPC's metadata can carry are cut down, not dropped with the whole answer."""
    groups = [pb.WorkerGroupSpec(name=f"g{i}", memory_limit="x" * 3000) for i in range(50)]

    told = await refused_create(api, groups=groups)

    assert told.reason == "INVALID_SPEC"
    assert len(told.fields) >= 5


async def test_environment_values_stay_out_of_errors_and_events(api):
    """A value may be a secret: neither a refusal nor the history shows it."""
    told = await refused_create(api, environment={"TOKEN": "s3cret\0"})
    cluster = await create(api, environment={"TOKEN": "s3cret"})

    assert "s3cret" not in told.words + str(told.fields)
    assert "s3cret" not in str(await api.store.events(cluster.uid))
    assert cluster.spec.environment["TOKEN"] == "s3cret"


@pytest.mark.parametrize("request_id", ["x" * 65, "a\nb", "é"])
async def test_a_bad_request_id_is_refused(api, request_id):
    """A request id is at most 64 printable ASCII characters."""
    told = await refused_create(api, request_id=request_id)

    assert (told.code, told.reason, list(told.fields)) == (INVALID, "INVALID_ARGUMENT", ["request_id"])


async def test_the_same_request_makes_one_cluster(api):
    """Concurrent and later repeats of a request id answer with the one cluster that it made, started once."""
    calls = [create(api, name, request_id="r1") for name in ("", "") for _ in range(5)]
    made = {cluster.uid for cluster in await asyncio.gather(*calls)}
    again = await create(api, "", request_id="r1")

    assert made == {again.uid}
    assert api.control.started == [again.uid]
    assert await api.store.count_live(None) == 1


async def test_a_request_id_for_another_name_is_refused(api):
    """A request id that made a cluster of another name is a mistake, and says so."""
    await create(api, "one", request_id="r1")

    told = await refused_create(api, "two", request_id="r1")

    assert (told.code, told.reason) == (INVALID, "INVALID_ARGUMENT")


async def test_validate_only_records_nothing(api):
    """The answer shows what would be made; the store stays empty and nothing starts."""
    cluster = await create(api, validate_only=True, **one_group(n_workers=2))

    assert (cluster.name, cluster.uid, cluster.groups[0].desired) == ("etl", "", 2)
    assert await api.store.count_live(None) == 0
    assert api.control.started == []


async def test_validate_only_does_every_check(api):
    """A taken name and a bad field are refused as they would be by the real call."""
    await create(api)

    assert (await refused_create(api, validate_only=True)).reason == "CLUSTER_EXISTS"
    assert (await refused_create(api, "b", validate_only=True, cwd="x")).reason == "INVALID_SPEC"


PROFILES = """
[profiles.default]
spec = { environment = { LANG = "C", SITE = "s3cret" } }
[profiles.gpu]
description = "Workers with a GPU"
max_workers = 8
fixed = ["python", "environment.SITE", "group.driver", "group.options.queue"]
[profiles.gpu.spec]
python = "/opt/gpu/bin/python"
idle_timeout = "1h"
environment = { SITE = "x" }
group = { nthreads = 4, driver = "queue", options = { queue = "gpu" } }
groups = [{ name = "gpus", memory_limit = "8GiB", resources = { GPU = 1 } }]
"""


async def test_a_profile_lies_under_the_request(serve):
    """What a request leaves open is the profile's; tables are merged; a group without a name is its first."""
    api = await serve(PROFILES)

    cluster = await create(
        api,
        profile="gpu",
        environment={"A": "1"},
        groups=[
            pb.WorkerGroupSpec(n_workers=2, nthreads=1, options=options(nodes=3)),
            pb.WorkerGroupSpec(name="more"),
        ],
    )

    first, second = cluster.spec.groups
    assert (first.name, first.n_workers, first.nthreads, first.memory_limit) == ("gpus", 2, 1, "8GiB")
    assert dict(first.options) == {"queue": "gpu", "nodes": 3.0}
    assert (second.name, second.nthreads, second.driver, second.memory_limit) == ("more", 4, "queue", "auto")
    assert (cluster.spec.python, cluster.spec.idle_timeout.seconds) == ("/opt/gpu/bin/python", 3600)
    assert dict(cluster.spec.environment) == {"SITE": "x", "A": "1"}


async def test_the_default_profile_needs_no_name(serve):
    """A request that names no profile gets the one that is called default."""
    api = await serve(PROFILES)

    assert (await create(api)).spec.environment["LANG"] == "C"


async def test_zero_idle_timeout_overrides_a_profile(serve):
    """An idle timeout of 0 means never, also where the profile has one."""
    api = await serve(PROFILES)

    cluster = await create(api, profile="gpu", idle_timeout=Duration())

    assert not cluster.spec.HasField("idle_timeout")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"python": "/usr/bin/python3"}, "python"),
        ({"environment": {"SITE": "other"}}, "environment.SITE"),
        (one_group(driver="local"), "groups[0].driver"),
        (one_group(options=options(queue="main")), "groups[0].options.queue"),
    ],
)
async def test_what_a_profile_fixes_stays(serve, spec, field):
    """A request that changes a fixed field is refused there; the same value is no change."""
    api = await serve(PROFILES)

    told = await refused_create(api, profile="gpu", **spec)

    assert field in told.fields
    assert "the profile 'gpu' fixes it" in told.fields[field]
    await create(api, profile="gpu", python="/opt/gpu/bin/python", **one_group(driver="queue"))


async def test_an_unknown_profile_names_the_near_one(serve):
    """A misspelt profile is answered with the one that was meant."""
    told = await refused_create(await serve(PROFILES), profile="gpus")

    assert told.fields == {"profile": "there is no profile 'gpus': did you mean 'gpu'?"}


async def test_a_field_is_named_where_the_user_wrote_it(serve):
    """A profile's own groups do not shift the places that errors name."""
    api = await serve(PROFILES)

    told = await refused_create(api, profile="gpu", groups=[pb.WorkerGroupSpec(name="more", memory_limit="x")])

    assert list(told.fields) == ["groups[0].memory_limit"]


@pytest.mark.parametrize(
    ("toml", "spec", "asked", "allowed"),
    [
        (PROFILES, {"profile": "gpu", **one_group(n_workers=9)}, "9", "8"),
        (PROFILES, {"profile": "gpu", **one_group(adaptive=pb.AdaptivePolicy(maximum=9))}, "9", "8"),
        ("[limits]\nmax_workers = 5", one_group(n_workers=6), "6", "5"),
        (
            "[limits]\nmax_workers = 5",
            {"groups": [pb.WorkerGroupSpec(name=name, n_workers=3) for name in ("a", "b")]},
            "6",
            "5",
        ),
    ],
)
async def test_too_many_workers_are_refused_with_the_limit(serve, toml, spec, asked, allowed):
    """A count over the profile's or the cluster's limit names what was asked for and what is allowed."""
    told = await refused_create(await serve(toml), **spec)

    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert (told.facts["asked"], told.facts["allowed"]) == (asked, allowed)


async def test_an_adaptive_policy_is_completed_with_the_limit(serve):
    """A policy without a maximum gets the lowest of the limits; the spec is as it was given."""
    api = await serve(PROFILES)

    cluster = await create(api, profile="gpu", **one_group(adaptive=pb.AdaptivePolicy(minimum=1)))

    assert (cluster.groups[0].name, cluster.groups[0].adaptive.policy.maximum) == ("gpus", 8)
    assert not cluster.spec.groups[0].adaptive.HasField("maximum")


async def test_concurrent_creates_do_not_pass_the_limit(serve):
    """Of many calls at once as many succeed as are allowed; the others are told used and allowed."""
    api = await serve("[limits]\nmax_clusters = 3")

    results = await asyncio.gather(*(create(api, f"c{i}") for i in range(8)), return_exceptions=True)
    told = await refused_create(api, "one-more")

    assert sum(isinstance(result, pb.Cluster) for result in results) == 3
    assert (told.reason, told.facts) == ("LIMIT_EXCEEDED", {"used": "3", "allowed": "3"})


async def test_a_repeat_at_the_limit_is_no_new_cluster(serve):
    """A retried request is answered with its cluster even when there is no room for another."""
    api = await serve("[limits]\nmax_clusters = 1")
    cluster = await create(api, request_id="r1")

    assert (await create(api, request_id="r1")).uid == cluster.uid
    assert (await refused_create(api)).reason == "CLUSTER_EXISTS"


async def test_the_total_limit_holds_for_all_users(serve):
    """The daemon keeps no more clusters than `max_clusters_total`."""
    api = await serve("[limits]\nmax_clusters_total = 1")
    await create(api, "a")

    assert (await refused_create(api, "b")).reason == "LIMIT_EXCEEDED"
