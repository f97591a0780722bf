"""How many commands a minute a Slurm is asked, with 1, 10 and 50 clusters of 20 jobs.

    PYTHONPATH=. python benchmarks/poll_rate.py [--clusters 1 10 50] [--jobs 20] [--seconds 60]

Needs root and what `make test-systems` installs. The Slurm, its `squeue` and the jobs are real, and so are the driver's
site, the handles, and the observer that polls for all clusters of a user. Schedulers and workers there are none, for
fifty clusters would measure this machine: the jobs wait, held, which to the observer is the same. Two figures a size:
while each cluster has something young (as after a launch), and when nothing changes any more. Commands are counted by
wrappers of them in the driver's `bin`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from daskd.control.observer import Observer
from daskd.drivers.batch import SlurmDriver
from daskd.drivers.batch.elements import handle_of
from daskd.drivers.batch.slurm_driver import SlurmSettings
from daskd.drivers.protocol import Surroundings
from daskd.model.cluster import Handle, State
from daskd.model.names import new_instance_id, new_state_id, new_uid
from daskd.security.peer import identity_of
from tests.drivers.batch.lab import Slurm, slurm

COMMANDS = ("squeue", "sacct", "sbatch", "scancel")


def counted(folder: Path) -> tuple[Path, Path]:
    """A folder of commands that write down that they were run, and the file where."""
    bin_folder, notes = folder / "bin", folder / "commands"
    bin_folder.mkdir()
    notes.touch()
    for name in COMMANDS:
        real = shutil.which(name)
        assert real is not None, f"there is no {name} here"
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\necho {name} >> {shlex.quote(str(notes))}\nexec {shlex.quote(real)} "$@"\n')
        script.chmod(0o755)
    return bin_folder, notes


def submitted(system: Slurm, state_id: str, cluster: str, n_jobs: int) -> dict[str, Handle]:
    """An array of jobs as a launch makes them, held; their handles by instance."""
    batch = new_instance_id(state_id)
    system.ask(
        "sbatch", "--hold", f"--job-name={batch}", f"--array=0-{n_jobs - 1}", "-D/", "-o/dev/null", "--wrap=sleep 600"
    )
    ids = [new_instance_id(state_id) for _ in range(n_jobs)]
    handles = [
        handle_of("slurm", one, (batch, index), cluster, "/nonexistent", time.time()) for index, one in enumerate(ids)
    ]
    return {handle.id: handle for handle in handles}


async def commands_within(notes: Path, seconds: float) -> Counter[str]:
    """What is run in that time, by command."""
    await asyncio.to_thread(notes.write_text, "")
    await asyncio.sleep(seconds)
    return Counter((await asyncio.to_thread(notes.read_text)).split())


def shown(counts: Counter[str], seconds: float) -> str:
    """Commands a minute, all and each."""
    each = ", ".join(f"{name} {count * 60 / seconds:.1f}" for name, count in sorted(counts.items()))
    return f"{counts.total() * 60 / seconds:5.1f} a minute ({each})"


async def measure(system: Slurm, folder: Path, sizes: list[int], n_jobs: int, seconds: float) -> None:
    """A line a size."""
    bin_folder, notes = counted(folder)
    settings = SlurmSettings(conf=str(system.conf), bin=str(bin_folder))
    where = Surroundings(new_state_id(), folder / "state", folder / "run", settings=settings)
    site = await SlurmDriver().open(identity_of(os.geteuid()), where)
    observer = Observer(site, lambda _: None, 60.0)
    polling = asyncio.ensure_future(observer.run())
    clusters: dict[str, dict[str, Handle]] = {}
    for size in sorted(sizes):
        while len(clusters) < size:
            uid = new_uid()
            clusters[uid] = await asyncio.to_thread(submitted, system, where.state_id, uid, n_jobs)
        for uid, handles in clusters.items():
            observer.watch(uid, handles, lambda: None, hurry=True)
        observer.nudge()
        young = await commands_within(notes, seconds)
        for uid, handles in clusters.items():
            observer.watch(uid, handles, lambda: None, hurry=False)
        quiet = await commands_within(notes, seconds)
        seen = [one for uid in clusters for one in observer.last(uid)[2].values()]
        assert [one.state for one in seen] == [State.QUEUED] * (size * n_jobs), "each poll lists all jobs"
        print(
            f"{size:3} clusters, {size * n_jobs:5} jobs: young {shown(young, seconds)}; quiet {shown(quiet, seconds)}"
        )
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--jobs", type=int, default=20, help="a cluster")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder, slurm(1) as system:
        asyncio.run(measure(system, Path(folder), arguments.clusters, arguments.jobs, arguments.seconds))


if __name__ == "__main__":
    main()
