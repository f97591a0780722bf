"""Memory a worker: proportional set size (PSS) of `RemoteCluster`'s worker processes beside `LocalCluster`'s.

    python benchmarks/worker_memory.py [--workers 1 4 8]

PSS divides shared pages among those who share them. Of ours, node processes and supervisors count too, divided by the
number of workers; of LocalCluster, whose nannies live in the caller's process, the workers alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from distributed import Client, LocalCluster

from daskd_client import RemoteCluster
from served import Served


def pss(pids: Iterable[int]) -> float:
    """MiB of these processes together."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


def workers_of(client: Any, n_workers: int) -> list[int]:
    """Process ids of the workers, once all are there."""
    client.wait_for_workers(n_workers)
    return list(client.run(lambda: __import__("os").getpid()).values())


def ours(n_workers: int, address: str) -> tuple[float, float]:
    """MiB a worker: of the workers' processes, and with what holds them."""
    worker = {"nthreads": 1, "memory_limit": "1GiB"}
    with RemoteCluster(n_workers=n_workers, worker=worker, address=address, quiet=True) as cluster:
        with Client(cluster) as client:
            pids = workers_of(client, n_workers)
            holders = {parent.pid for pid in pids for parent in _holders(psutil.Process(pid))}
            alone, whole = pss(pids), pss({*pids, *holders})
        cluster.shutdown()
    return alone / n_workers, whole / n_workers


def _holders(worker: psutil.Process) -> list[psutil.Process]:
    """The worker's forkserver, node and supervisor: its ancestors up to the first that is not ours."""
    return [parent for parent in worker.parents() if "daskd_runtime" in " ".join(parent.cmdline())]


def local(n_workers: int) -> float:
    """MiB a worker."""
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, memory_limit="1GiB", dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        return pss(workers_of(client, n_workers)) / n_workers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, Served(Path(folder)) as served:
        for n_workers in arguments.workers:
            alone, whole = ours(n_workers, served.address)
            theirs = local(n_workers)
            print(
                f"{n_workers} workers: {alone:.0f} MiB a worker, {whole:.0f} MiB with what holds it; "
                f"LocalCluster {theirs:.0f} MiB; ratio {whole / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
