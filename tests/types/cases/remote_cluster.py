"""The types that users of `RemoteCluster` see. Checked by mypy, never run."""

from __future__ import annotations

from typing import Any

from distributed import Client
from distributed.security import Security
from typing_extensions import assert_type

from daskd_client import RebindingClient, RemoteCluster, list_clusters
from daskd_client.adaptive import RemoteAdaptive
from daskd_client.types import Cluster


def in_a_script() -> None:
    """Made, attached to, used, left."""
    with RemoteCluster("etl", n_workers=4, worker={"nthreads": 1}, options={"nice": 10}) as cluster:
        assert_type(cluster, RemoteCluster)
        assert_type(cluster.name, str)
        assert_type(cluster.uid, str)
        assert_type(cluster.record, Cluster)
        assert_type(cluster.scheduler_address, str)
        assert_type(cluster.dashboard_link, str)
        assert_type(cluster.security, Security)
        assert_type(cluster.workers, dict[str, Any])
        assert_type(cluster.shutdown_on_close, bool)
        assert_type(cluster.get_client(), Client)
        assert_type(cluster.adapt(minimum=0, maximum=20, interval="2s"), RemoteAdaptive)
        # what blocks in a script, and is awaited in a coroutine, can have no other type
        assert_type(cluster.scale(3, group="highmem"), Any)
        assert_type(cluster.get_logs(workers=["default-0"]), Any)
        assert_type(cluster.recover(cluster.get_client()), Any)
        assert_type(cluster.lost_work(), Any)
        assert_type(cluster.discard_lost_work(), Any)
        assert_type(cluster.close(), Any)
    assert_type(RemoteCluster.attach("etl", shutdown_on_close=True), RemoteCluster)
    assert_type(RemoteCluster.from_name("etl"), RemoteCluster)
    assert_type(RemoteCluster.attach("etl").shutdown(timeout=None), Any)


async def in_a_coroutine() -> None:
    """The object is awaited, or a context."""
    assert_type(await RemoteCluster("etl", asynchronous=True), RemoteCluster)
    async with RemoteCluster.attach("etl", asynchronous=True) as cluster:
        assert_type(cluster, RemoteCluster)
        assert_type(await cluster.adapt(maximum=3), RemoteAdaptive)


def policies(adaptive: RemoteAdaptive) -> None:
    """Bounds are there at once."""
    assert_type(adaptive.minimum, int)
    assert_type(adaptive.maximum, int | float)


def clients(ours: RebindingClient) -> Client:
    """Ours is one of distributed's."""
    return ours


def lists() -> None:
    """Of records, not of objects."""
    assert_type(list_clusters("unix:/run/daskd/daskd.sock", token=None, include_ended=True), list[Cluster])


def mistakes() -> None:
    """What a type checker tells before the daemon has to."""
    RemoteCluster("etl", n_workers="4")  # type: ignore[arg-type]
    RemoteCluster("etl", workers=4)  # type: ignore[call-arg]
    RemoteCluster("etl", None)  # type: ignore[call-arg]
    RemoteCluster.attach()  # type: ignore[call-arg]
    RemoteCluster.attach("etl").scale("3")  # type: ignore[arg-type]
    RemoteCluster.attach("etl").adapt(0, "many")  # type: ignore[arg-type]
    list_clusters(True)  # type: ignore[arg-type]
