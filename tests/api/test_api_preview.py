"""What would be submitted, and what is: of a dry run, and of a cluster that there is."""

from __future__ import annotations

import grpc
from api_harness import USER, refused

from daskd_api.v1 import cluster_pb2 as pb


def request(*, validate_only: bool) -> pb.CreateClusterRequest:
    """A cluster with a group of jobs and one of processes."""
    jobs = pb.WorkerGroupSpec(name="jobs", driver="queue", n_workers=5, workers_per_node=2)
    jobs.options["queue"] = "main"
    spec = pb.ClusterSpec(groups=[jobs, pb.WorkerGroupSpec(name="here", driver="local")])
    return pb.CreateClusterRequest(name="etl", validate_only=validate_only, spec=spec)


async def test_a_dry_run_tells_what_each_group_would_get(api):
    """The driver's words where it has some, and how many instances and workers there would be."""
    answer = await api.clusters.CreateCluster(request(validate_only=True), metadata=api.auth)

    jobs, here = answer.previews
    assert (jobs.name, jobs.driver, jobs.instances, jobs.workers, jobs.submissions) == ("jobs", "queue", 3, 5, 2)
    assert (jobs.command, jobs.script) == (f"submit --user={USER}", "#!/bin/sh\n# main\n")
    assert (here.name, here.command, here.script) == ("here", "", "")


async def test_what_was_made_can_be_asked_later(api):
    """The real call answers with the record alone; of a cluster that there is the same is told as of a dry run."""
    would_be = await api.clusters.CreateCluster(request(validate_only=True), metadata=api.auth)
    made = await api.clusters.CreateCluster(request(validate_only=False), metadata=api.auth)
    assert not made.previews

    answer = await api.clusters.PreviewCluster(pb.PreviewClusterRequest(name="etl"), metadata=api.auth)

    assert list(answer.previews) == list(would_be.previews)


async def test_a_cluster_that_is_not_there_has_no_preview(api):
    """An unknown name is NOT_FOUND, as everywhere."""
    told = await refused(api.clusters.PreviewCluster(pb.PreviewClusterRequest(name="etl"), metadata=api.auth))

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")
