"""ExplainCluster: who may ask, and what is added to the control plane's words."""

from __future__ import annotations

import grpc
import pytest
from api_harness import refused, start_api

from daskd.config import Config
from daskd_api.v1 import cluster_pb2 as pb


async def test_the_control_planes_words_reach_the_caller(api):
    """Reasons, groups and what waits are as they were said, beside the cluster itself."""
    request = pb.CreateClusterRequest(name="etl")
    cluster = (await api.clusters.CreateCluster(request, metadata=api.auth)).cluster

    answer = await api.clusters.ExplainCluster(pb.ExplainClusterRequest(name="etl"), metadata=api.auth)

    assert (answer.cluster, list(answer.reasons)) == (cluster, ["it runs"])
    (group,) = answer.groups
    assert (group.name, group.target, group.decided_by, group.ready_tasks) == ("default", 2, "count", 7)
    assert list(group.reasons) == ["ann wants it so"]
    (waiting,) = group.waiting
    assert (waiting.instances, waiting.workers, waiting.reason) == (1, 2, "in the queue")
    assert (waiting.state, waiting.since_time.ToNanoseconds()) == (pb.WORKER_STATE_QUEUED, 1_500_000_000)


async def test_a_cluster_that_is_not_there_cannot_be_explained(api):
    """An unknown name is NOT_FOUND, as everywhere."""
    told = await refused(api.clusters.ExplainCluster(pb.ExplainClusterRequest(name="etl"), metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")


@pytest.mark.parametrize(("workers", "said"), [(4, True), (3, False)])
async def test_a_limit_that_is_reached_is_told(tmp_path, workers, said):
    """Where the owner's clusters take all that they may, that is why no more can be had."""
    config = Config.model_validate({"limits": {"user": {"max_cores": 8}}})
    api = await start_api(tmp_path, config)
    try:
        group = pb.WorkerGroupSpec(n_workers=workers, nthreads=2, memory_limit="1GiB")
        request = pb.CreateClusterRequest(name="etl", spec=pb.ClusterSpec(groups=[group]))
        await api.clusters.CreateCluster(request, metadata=api.auth)

        answer = await api.clusters.ExplainCluster(pb.ExplainClusterRequest(name="etl"), metadata=api.auth)

        words = "it can't be given more: its owner's clusters may take 8 cores (`limits.user.max_cores`)"
        assert (words in answer.reasons) is said
    finally:
        await api.close()
