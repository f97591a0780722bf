"""What the daemon itself takes while nothing happens: memory and CPU with some idle clusters.

python benchmarks/idle_daemon.py [--clusters 0 10] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import psutil

from daskd_client import AsyncDaskd
from daskd_client.types import ClusterSpec, WorkerGroupSpec
from served import Served


async def make(address: str, first: int, last: int) -> None:
    """Make clusters of one worker, and wait until they run."""
    async with AsyncDaskd(address) as daskd:
        for n in range(first, last):
            spec = ClusterSpec(groups=(WorkerGroupSpec(n_workers=1, memory_limit="256MiB"),), dashboard=False)
            await daskd.create(f"idle-{n}", spec)
            async for change in daskd.watch(f"idle-{n}"):
                cluster = change.cluster
                if cluster is not None and cluster.groups and cluster.groups[0].running == 1:
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
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, Served(Path(folder)) as served:
        there = 0
        for n_clusters in sorted(arguments.clusters):
            await make(served.address, there, n_clusters)
            there = n_clusters
            await asyncio.sleep(5.0)
            resident, cpu = await measure(served.pid, arguments.seconds)
            print(f"{n_clusters} idle clusters: {resident:.0f} MiB resident, {cpu:.2f} s of CPU a minute")


if __name__ == "__main__":
    asyncio.run(main())
