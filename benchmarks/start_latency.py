"""Create to first result: `RemoteCluster` beside `LocalCluster`, in interleaved rounds of one run.

    python benchmarks/start_latency.py [--rounds 5] [--workers 1 4 8]

Prints, for every size, the median seconds of each, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from daskd_client import RemoteCluster
from served import Served


def first_result(make: Callable[[], Any]) -> float:
    """Seconds from the call that makes a cluster to the first result that it gives."""
    begun = time.perf_counter()
    cluster = make()
    with Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        took = time.perf_counter() - begun
        ended: Callable[[], None] = getattr(cluster, "shutdown", cluster.close)
    ended()
    return took


def rounds(n_rounds: int, n_workers: int, address: str) -> tuple[list[float], list[float]]:
    """Seconds of ours and of LocalCluster's, round by round, who goes first changing by turns."""
    makers: list[Callable[[], Any]] = [
        lambda: RemoteCluster(
            n_workers=n_workers, worker={"nthreads": 1, "memory_limit": "1GiB"}, address=address, quiet=True
        ),
        lambda: LocalCluster(n_workers=n_workers, threads_per_worker=1, memory_limit="1GiB", dashboard_address=":0"),
    ]
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(n_rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            taken[which].append(first_result(makers[which]))
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, Served(Path(folder)) as served:
        rounds(1, 1, served.address)  # the first of each imports and compiles
        for n_workers in arguments.workers:
            ours, local = rounds(arguments.rounds, n_workers, served.address)
            ratio = statistics.median(a / b for a, b in zip(ours, local, strict=True))
            print(
                f"{n_workers} workers: RemoteCluster {statistics.median(ours):.2f} s, "
                f"LocalCluster {statistics.median(local):.2f} s, ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
