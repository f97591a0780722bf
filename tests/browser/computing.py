"""Work for a cluster whose dashboard is looked at."""

from __future__ import annotations

from daskd_client import RemoteCluster

TASKS = 120


def compute_on(cluster: RemoteCluster, workers: int) -> None:
    """Have a cluster run `TASKS` short tasks, on so many workers."""
    cluster.wait_for_workers(workers, timeout=60)
    with cluster.get_client() as client:
        client.gather(client.map(sum, [range(10_000 * k) for k in range(TASKS)]))
