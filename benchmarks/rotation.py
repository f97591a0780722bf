"""A computation that outlasts its jobs: how many tasks failed, and how many ran twice. Both are to be 0.

    PYTHONPATH=. python benchmarks/rotation.py [--minutes 10] [--walltime 2] [--workers 2] [--task 0.5]

On a real Slurm of this machine, which ends each job after its walltime, of one minute or two. Needs root and what
`make test-systems` installs. Tasks hold results of 20 kB and write down that they ran. Prints tasks, tasks that failed,
tasks that ran twice, jobs used, how many of them retired in time, and how many met their time limit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from distributed import Client, wait

from daskd_client import AsyncDaskd, RemoteCluster
from served import Served
from tests.drivers.batch.lab import PARTITION, Slurm, slurm

NAME = "rotating"


def noted(runs: str, seconds: float) -> Callable[[int], bytes]:
    """A task that writes down that it ran; it travels by value, for jobs don't find this module."""

    def work(n: int) -> bytes:
        time.sleep(seconds)
        descriptor = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{n}\n".encode())
        finally:
            os.close(descriptor)
        return n.to_bytes(4, "big") * 5000

    return work


async def events(address: str) -> Counter[str]:
    """How many of each type the cluster has."""
    async with AsyncDaskd(address) as daskd:
        return Counter(event.type for event in await daskd.events(NAME))


def computed(address: str, folder: Path, arguments: argparse.Namespace) -> tuple[int, int, Counter[int], Counter[str]]:
    """Compute for so long; tasks, those that failed, how often each ran, and what the cluster told."""
    n_tasks = int(arguments.minutes * 60 / arguments.task * arguments.workers)
    with RemoteCluster(
        NAME,
        driver="slurm",
        n_workers=arguments.workers,
        worker={"nthreads": 1, "memory_limit": "400MB"},
        options={"queue": PARTITION, "walltime": f"00:{arguments.walltime:02}:00"},
        address=address,
        quiet=True,
    ) as cluster:
        with Client(cluster) as client:
            futures = client.map(noted(str(folder / "runs"), arguments.task), range(n_tasks), key="work")
            wait(futures)
            failed = sum(future.status != "finished" for future in futures)
        told = asyncio.run(events(address))
        cluster.shutdown()
    return n_tasks, failed, Counter(map(int, (folder / "runs").read_text().split())), told


def measure(system: Slurm, folder: Path, arguments: argparse.Namespace) -> None:
    """One computation."""
    drivers = f'[drivers.slurm]\nconf = "{system.conf}"\nlog_directory = "{folder}/shared"\n'
    begun = time.monotonic()
    with Served(folder, f'[clusters]\ncontact_host = "127.0.0.1"\n{drivers}') as served:
        n_tasks, failed, ran, told = computed(served.address, folder, arguments)
    jobs = system.ask("squeue", "-h", "-r", "-t", "all", "-o", "%i").split()
    twice = sum(n > 1 for n in ran.values())
    print(f"{n_tasks} tasks in {time.monotonic() - begun:.0f} s: {failed} failed, {twice} ran twice")
    print(f"{len(jobs)} jobs, {told['ROTATED']} retired in time, {len(system.jobs('TIMEOUT'))} met their time limit")
    raise SystemExit(1 if failed or twice else 0)


def main() -> None:
    """Measure and print; the exit code is 0 if no task failed and none ran twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the whole computation")
    parser.add_argument("--walltime", type=int, choices=(1, 2), default=2, help="minutes of a job")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--task", type=float, default=0.5, help="seconds of a task")
    arguments = parser.parse_args()
    # all jobs are to be counted, whenever they ended
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, slurm(1, changes={"MinJobAge": "86400"}) as system:
        measure(system, Path(folder), arguments)


if __name__ == "__main__":
    main()
