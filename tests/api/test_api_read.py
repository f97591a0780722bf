"""Reading: lookups, lists and their pages, workers, logs, connections, the daemon itself."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from api_harness import USER, refused
from google.protobuf.timestamp_pb2 import Timestamp

from daskd.model.event import NewEvent
from daskd_api.v1 import cluster_pb2 as pb
from daskd_api.v1 import daemon_pb2


async def create(api: Any, name: str, **spec: Any) -> pb.Cluster:
    request = pb.CreateClusterRequest(name=name, spec=pb.ClusterSpec(**spec))
    return (await api.clusters.CreateCluster(request, metadata=api.auth)).cluster


async def names(api: Any, **request: Any) -> list[str]:
    answer = await api.clusters.ListClusters(pb.ListClustersRequest(**request), metadata=api.auth)
    return [cluster.name for cluster in answer.clusters]


@pytest.mark.parametrize("form", ["name", "owner/name", "uid"])
async def test_a_cluster_is_found_by_each_of_its_names(api, form):
    """Name, owner/name and uid reach the same cluster."""
    cluster = await create(api, "etl")
    name = {"name": "etl", "owner/name": f"{USER}/etl", "uid": cluster.uid}[form]

    answer = await api.clusters.GetCluster(pb.GetClusterRequest(name=name), metadata=api.auth)

    assert answer.cluster == cluster


@pytest.mark.parametrize("name", ["elt", f"{USER}/elt"])
async def test_an_unknown_name_is_answered_with_the_near_one(api, name):
    """A misspelt name is NOT_FOUND and names the own cluster that was meant."""
    await create(api, "etl")

    told = await refused(api.clusters.GetCluster(pb.GetClusterRequest(name=name), metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")
    assert "did you mean 'etl'?" in told.words


@pytest.mark.parametrize("name", ["", "x" * 300])
async def test_no_name_is_refused(api, name):
    """A call for no cluster, or for an absurdly long name, is INVALID_ARGUMENT in the field `name`."""
    told = await refused(api.clusters.GetCluster(pb.GetClusterRequest(name=name), metadata=api.auth))

    assert (told.reason, list(told.fields)) == ("INVALID_ARGUMENT", ["name"])


async def test_lists_come_in_pages_newest_first(api):
    """Following the tokens tells each cluster once."""
    for i in range(5):
        await create(api, f"c{i}")

    first = await api.clusters.ListClusters(pb.ListClustersRequest(page_size=3), metadata=api.auth)
    second = await api.clusters.ListClusters(
        pb.ListClustersRequest(page_size=3, page_token=first.next_page_token), metadata=api.auth
    )

    pages = [[cluster.name for cluster in page.clusters] for page in (first, second)]
    assert pages == [["c4", "c3", "c2"], ["c1", "c0"]]
    assert second.next_page_token == ""


async def test_a_page_is_bounded_in_bytes(api):
    """Large clusters make shorter pages, and following them still tells each once."""
    for i in range(4):
        await create(api, f"c{i}", environment={f"V{j}": "x" * 100_000 for j in range(9)})

    seen, token, pages = [], "", 0
    while pages == 0 or token:
        answer = await api.clusters.ListClusters(pb.ListClustersRequest(page_token=token), metadata=api.auth)
        assert answer.ByteSize() < 3 << 20
        seen += [cluster.name for cluster in answer.clusters]
        token, pages = answer.next_page_token, pages + 1

    assert seen == ["c3", "c2", "c1", "c0"]
    assert pages > 1


async def test_filters_narrow_a_list(api):
    """Prefix, phase and owner must all hold."""
    for name in ("ab", "ac", "b"):
        await create(api, name)

    assert await names(api, filter=pb.ClusterFilter(name_prefix="a")) == ["ac", "ab"]
    assert await names(api, filter=pb.ClusterFilter(phases=[pb.PHASE_RUNNING])) == []
    assert await names(api, filter=pb.ClusterFilter(phases=[pb.PHASE_PENDING], owner=USER)) == ["b", "ac", "ab"]
    assert await names(api, filter=pb.ClusterFilter(owner="nobody-here")) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.ListClustersRequest(page_size=-1), "-1 is out of range"),
        (pb.ListClustersRequest(page_token="garbage"), ""),
        (pb.ListClustersRequest(filter=pb.ClusterFilter(phases=[0])), "is no phase"),
        (pb.ListClustersRequest(filter=pb.ClusterFilter(phases=[99])), "is no phase"),
    ],
)
async def test_a_bad_list_is_refused(api, request_, words):
    """Sizes, tokens and phases from outside are checked."""
    told = await refused(api.clusters.ListClusters(request_, metadata=api.auth))

    assert told.reason == "INVALID_ARGUMENT"
    assert words in told.words


async def test_events_come_in_pages_oldest_first(api):
    """Following the tokens tells each event once, in order."""
    cluster = await create(api, "etl")
    for i in range(6):
        await api.store.update(cluster.uid, lambda now: now, events=[NewEvent("X", f"{i}", facts={"i": str(i)})])

    told, token = [], ""
    while not told or token:
        request = pb.ListEventsRequest(name="etl", page_size=3, page_token=token)
        answer = await api.clusters.ListEvents(request, metadata=api.auth)
        told += [event.message for event in answer.events]
        token = answer.next_page_token

    assert told[1:] == ["0", "1", "2", "3", "4", "5"]


async def test_an_events_token_of_another_cluster_is_refused(api):
    """A page token goes on with the cluster that it is of."""
    await create(api, "a")
    await create(api, "b")
    page = await api.clusters.ListEvents(pb.ListEventsRequest(name="a", page_size=1), metadata=api.auth)

    request = pb.ListEventsRequest(name="b", page_token=page.next_page_token)
    told = await refused(api.clusters.ListEvents(request, metadata=api.auth))

    assert told.reason == "INVALID_ARGUMENT"


async def test_workers_are_shown(api):
    """Workers are those of the control plane; ended ones only if asked for; a group narrows them."""
    await create(api, "etl", groups=[pb.WorkerGroupSpec(), pb.WorkerGroupSpec(name="other")])

    async def shown(**request: Any) -> list[str]:
        answer = await api.clusters.ListWorkers(pb.ListWorkersRequest(name="etl", **request), metadata=api.auth)
        return [worker.name for worker in answer.workers]

    assert await shown() == ["w-0"]
    assert await shown(include_ended=True) == ["w-0", "w-1"]
    assert await shown(include_ended=True, group="other") == ["w-1"]
    both = await api.clusters.ListWorkers(pb.ListWorkersRequest(name="etl", include_ended=True), metadata=api.auth)
    assert both.workers[0].expected_end_time.seconds == 4_000_000_000
    assert not both.workers[1].HasField("expected_end_time")
    told = await refused(api.clusters.ListWorkers(pb.ListWorkersRequest(name="etl", group="othr"), metadata=api.auth))
    assert told.reason == "GROUP_NOT_FOUND"


async def test_logs_are_streamed(api):
    """Lines come as the control plane gives them, and what narrows them reaches it."""
    await create(api, "etl")
    request = pb.StreamLogsRequest(name="etl", worker="w-0", tail=0, since_time=Timestamp(seconds=5))

    answers = [answer async for answer in api.clusters.StreamLogs(request, metadata=api.auth)]

    assert [line.text for answer in answers for line in answer.lines] == ["a line"]
    assert api.control.logs_asked == [{"scheduler": False, "worker": "w-0", "tail": 0, "since": 5.0}]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.StreamLogsRequest(name="etl", worker="nobody"), "WORKER_NOT_FOUND"),
        (pb.StreamLogsRequest(name="etl", worker="w-0", scheduler=True), "INVALID_ARGUMENT"),
        (pb.StreamLogsRequest(name="etl", tail=-1), "INVALID_ARGUMENT"),
        (pb.StreamLogsRequest(name="other"), "CLUSTER_NOT_FOUND"),
    ],
)
async def test_a_bad_log_request_is_refused(api, request_, reason):
    """A stream is refused like any call, with the same details."""
    await create(api, "etl")

    assert (await refused(api.clusters.StreamLogs(request_, metadata=api.auth).read())).reason == reason


async def test_a_connection_is_given(api):
    """What a client needs is answered as the control plane has it."""
    await create(api, "etl")

    answer = await api.clusters.GetConnection(pb.GetConnectionRequest(name="etl"), metadata=api.auth)

    assert (answer.scheduler_address, answer.tls_client_key) == ("tls://127.0.0.1:1", "KEY")


async def test_held_work_is_discarded(api):
    """The answer has what the control plane let go of."""
    await create(api, "etl")

    answer = await api.clusters.DiscardHeldWork(pb.DiscardHeldWorkRequest(name="etl"), metadata=api.auth)

    assert (answer.keys, answer.bytes) == (3, 4096)


async def test_the_daemon_tells_about_itself(api):
    """Version, state, address, and whom it takes the caller for."""
    await create(api, "etl")

    info = await api.daemon.GetDaemonInfo(daemon_pb2.GetDaemonInfoRequest(), metadata=api.auth)

    assert (info.version, info.state_id, info.user, info.live_clusters) == ("1.2.3", api.store.state_id, USER, 1)
    assert list(info.listen_addresses) == [f"unix:{api.directory / 's'}"]


async def test_drivers_are_listed_with_their_options(api):
    """Each driver has a schema of its options, and says why it can't be used."""
    answer = await api.daemon.ListDrivers(daemon_pb2.ListDriversRequest(), metadata=api.auth)

    drivers = {driver.name: driver for driver in answer.drivers}
    assert set(drivers["queue"].options_schema["properties"]) == {"queue", "nodes"}
    assert (drivers["away"].available, drivers["away"].message) == (False, "its program is missing: install it")


async def test_profiles_are_listed_without_environment_values(serve):
    """A profile shows what it sets; an environment's values may be secrets, and are not shown."""
    api = await serve(
        """
        [profiles.gpu]
        description = "GPUs"
        max_workers = 8
        [profiles.gpu.spec]
        environment = { A = "s3cret" }
        group = { nthreads = 4, environment = { B = "s3cret" } }
        groups = [{ name = "g", environment = { C = "s3cret" } }]
        """
    )

    answer = await api.daemon.ListProfiles(daemon_pb2.ListProfilesRequest(), metadata=api.auth)

    (profile,) = answer.profiles
    assert (profile.name, profile.description, profile.max_workers) == ("gpu", "GPUs", 8)
    assert profile.defaults["group"]["nthreads"] == 4
    assert profile.defaults["environment"]["A"] == ""
    assert "s3cret" not in str(answer)
