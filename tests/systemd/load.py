"""A client with work for a cluster: `load.py NAME` prints "busy" once tasks run, reads a line, and prints their sum."""

from __future__ import annotations

import sys
import time

from dask.distributed import Client

from daskd_client import RemoteCluster

TASKS = 40


def slow(number: int) -> int:
    """A task that takes a while."""
    time.sleep(0.2)
    return number


def main(name: str) -> None:
    """Submit, say so, and see all of it done."""
    with RemoteCluster.attach(name) as cluster, Client(cluster) as client:
        futures = client.map(slow, range(TASKS), pure=False)
        futures[0].result(timeout=120)
        print("busy", flush=True)
        sys.stdin.readline()
        print(sum(client.gather(futures)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
