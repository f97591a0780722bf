"""Which clusters there are: for users, and for tools that find them by the entry point ``dask_cluster_discovery``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from distributed.utils import NoOpAwaitable

from .api import AsyncDaskd
from .blocking import run_blocking
from .cluster import RemoteCluster
from .errors import DaemonUnavailable
from .types import Cluster, Phase


class DiscoveredCluster(RemoteCluster):
    """A cluster in the hands of a tool whose ``close`` means the cluster's end (dask-ctl's delete).

    Such tools make the object in their own event loop without waiting for it, and await what it returns.
    """

    @classmethod
    def from_name(cls, name: str, loop: Any = None, asynchronous: bool = False) -> RemoteCluster:
        """Attach, ready for use."""
        return cls.attach(name, loop=loop, asynchronous=asynchronous, shutdown_on_close=True, quiet=True)

    def close(self, timeout: float | None = None) -> Any:
        """End the cluster."""
        return super().close(timeout) or NoOpAwaitable()

    def scale(
        self, n: int | None = None, group: str | None = None, *, cores: int | None = None, memory: Any = None
    ) -> Any:
        """Set how many workers there are."""
        return super().scale(n, group, cores=cores, memory=memory) or NoOpAwaitable()


async def discover() -> AsyncGenerator[tuple[str, type[RemoteCluster]], None]:
    """The name of each running cluster of yours, and the class whose ``from_name`` makes an object of it."""
    async with AsyncDaskd() as daskd:
        try:
            clusters = await daskd.list_clusters(phases=[Phase.RUNNING])
        except DaemonUnavailable:
            return  # without a daemon there are none
        user = (await daskd.info()).user
    for cluster in clusters:
        yield (cluster.name if cluster.owner == user else f"{cluster.owner}/{cluster.name}"), DiscoveredCluster


def list_clusters(
    address: str | None = None, *, token: str | None = None, include_ended: bool = False
) -> list[Cluster]:
    """The clusters that you may see, newest first.

    Blocks; in a coroutine use `AsyncDaskd.list_clusters`.

    Parameters
    ----------
    address, token
        Where the daemon is; see `AsyncDaskd`.
    include_ended
        Ended ones too.

    Raises
    ------
    DaemonUnavailable
        There is no daemon.
    """

    async def ask() -> list[Cluster]:
        async with AsyncDaskd(address, token) as daskd:
            return await daskd.list_clusters(include_ended=include_ended)

    return run_blocking(ask())
