"""What the daemon itself takes while nothing happens: memory and CPU with some idle clusters.

python benchmarks/idle_daemon.py [--clusters 0 10] [--workers 1] [--seconds 30]

Workers sample what they compute a hundred times a second, even while that is nothing: where the machine is small for
that many of them, `--workers 0` leaves the schedulers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import psutil

from daskd_client import AsyncDaskd
from daskd_client.types import ClusterSpec, Phase, WorkerGroupSpec
from served import Served


async def make(address: str, first: int, last: int, n_workers: int) -> None:
    """Make clusters, one after the other, and wait until each runs with all its workers."""
    group = WorkerGroupSpec(n_workers=n_workers, memory_limit="256MiB")
    async with AsyncDaskd(address) as daskd:
        for n in range(first, last):
            await daskd.create(f"idle-{n}", ClusterSpec(groups=(group,), dashboard=False))
            async for change in daskd.watch(f"idle-{n}"):
                cluster = change.cluster
                if cluster is not None and cluster.phase is Phase.RUNNING and cluster.groups[0].running == n_workers:
                    break


async def measure(pid: int, seconds: float) -> tuple[float, float]:
    """Resident MiB, and CPU seconds a minute."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    used = (after.user + after.system) - (before.user + before.system)
    return process.memory_info().rss / 2**20, used / seconds * 60


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[0, 10])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, Served(Path(folder)) as served:
        there = 0
        for n_clusters in sorted(arguments.clusters):
            await make(served.address, there, n_clusters, arguments.workers)
            there = n_clusters
            await asyncio.sleep(5.0)
            resident, cpu = await measure(served.pid, arguments.seconds)
            what = f"{n_clusters} idle clusters of {arguments.workers} workers"
            print(f"{what}: {resident:.0f} MiB resident, {cpu:.2f} s of CPU a minute", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
