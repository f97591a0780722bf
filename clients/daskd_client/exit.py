"""The end of the interpreter is no goodbye.

A kernel that is restarted, a script that ends, an exception, Ctrl-C: at all of them ``distributed`` says goodbye for
its clients from an atexit hook, and the scheduler forgets what they wanted. The hook here is registered after that one,
so it runs before: it has the scheduler keep what this process's clients want, unless their cluster was told to release
it.
"""

from __future__ import annotations

import atexit
import weakref
from contextlib import suppress
from typing import Any

# Importing it registers distributed's own hook: hooks run in the reverse order, so ours must be registered after.
from distributed import Client

from .held import hand_over

_keeping: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_at_exit(cluster: Any) -> None:
    """Have the work of `cluster`'s clients in this process kept when the process ends."""
    _keeping.add(cluster)


def clients_to_keep() -> list[Client]:
    """The connected clients of the clusters whose work is kept: made from the object, or by its address."""
    clusters = [cluster for cluster in _keeping if cluster.on_exit == "keep"]
    addresses = {cluster.record.scheduler.address for cluster in clusters if cluster.record.scheduler is not None}
    return [client for client in list(Client._instances) if _belongs(client, clusters, addresses)]


def _belongs(client: Client, clusters: list[Any], addresses: set[str]) -> bool:
    if client.status not in ("running", "connecting"):
        return False
    if any(client.cluster is cluster for cluster in clusters):
        return True
    return client.cluster is None and client.scheduler is not None and client.scheduler.address in addresses


@atexit.register
def hand_over_all() -> None:
    """Hand over what this process's clients want; waits for nothing."""
    for client in clients_to_keep():
        # A loop that was closed has closed the connection too, without a goodbye: that is kept anyhow.
        with suppress(RuntimeError):
            hand_over(client)
