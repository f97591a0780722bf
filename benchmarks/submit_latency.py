"""Create to first result where workers are submitted: ours beside who else does it, in interleaved rounds of one run.

    PYTHONPATH=. python benchmarks/submit_latency.py [--system slurm ssh] [--rounds 5] [--workers 1 4]

On a real Slurm of this machine beside dask-jobqueue's `SLURMCluster`, and over SSH to hosts in network namespaces
beside `distributed.SSHCluster`. Needs root, the packages of the extra `bench`, and what `make test-systems` installs.
Both sides ask for the same jobs: a worker each, of one thread. A round is the call that makes the cluster, a client,
and one result; who goes first changes by turns, and nothing of a round is left when the next begins. The
scheduler of `SSHCluster` is on the first host; ours, and dask-jobqueue's, beside the caller. Prints the median seconds
of each, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_jobqueue import SLURMCluster
from distributed import Client, SSHCluster

from daskd_client import RemoteCluster
from served import Served
from tests.drivers.batch.lab import PARTITION, slurm, until
from tests.drivers.ssh.lab import lab as hosts
from tests.drivers.ssh.rig import options_of

WORKER = {"nthreads": 1, "memory_limit": "400MB"}
Maker = Callable[[int], Any]
Rivals = tuple[str, Maker, Maker, Callable[[], None]]
"""Who else does it; ours, theirs; waits until nothing is left of either."""


def first_result(make: Maker, n_workers: int) -> float:
    """Seconds from the call that makes a cluster to the first result that it gives."""
    begun = time.perf_counter()
    cluster = make(n_workers)
    with Client(cluster) as client:
        assert client.submit(sum, [1, 2], pure=False).result(timeout=300) == 3
        took = time.perf_counter() - begun
        ended: Callable[[], None] = getattr(cluster, "shutdown", cluster.close)
    ended()
    return took


@contextmanager
def on_slurm(folder: Path) -> Iterator[Rivals]:
    """A Slurm of two nodes, which both use."""
    with slurm(2) as system:
        os.environ["SLURM_CONF"] = str(system.conf)
        drivers = f'[drivers.slurm]\nconf = "{system.conf}"\nlog_directory = "{folder}/shared"\n'
        with Served(folder, f'[clusters]\ncontact_host = "127.0.0.1"\n{drivers}') as served:

            def ours(n: int) -> RemoteCluster:
                options = {"queue": PARTITION, "walltime": "00:30:00"}
                return RemoteCluster(
                    driver="slurm", n_workers=n, worker=WORKER, options=options, address=served.address, quiet=True
                )

            def theirs(n: int) -> SLURMCluster:
                made = SLURMCluster(
                    queue=PARTITION,
                    cores=1,
                    processes=1,
                    memory=WORKER["memory_limit"],
                    walltime="00:30:00",
                    interface="lo",
                    python=sys.executable,
                    log_directory=str(folder / "jobqueue"),
                    local_directory=str(folder),
                    scheduler_options={"dashboard_address": ":0"},
                )
                made.scale(n)
                return made

            yield "SLURMCluster", ours, theirs, lambda: until(lambda: not system.owners(), "the queue is empty")


@contextmanager
def over_ssh(folder: Path) -> Iterator[Rivals]:
    """Two hosts, which both use."""
    with hosts(2) as machines, Served(folder, f'[clusters]\ncontact_host = "{machines.gateway}"\n') as served:

        def ours(n: int) -> RemoteCluster:
            options = options_of(machines, slots=-(-n // 2))
            return RemoteCluster(
                driver="ssh", n_workers=n, worker=WORKER, options=options, address=served.address, quiet=True
            )

        def theirs(n: int) -> SSHCluster:
            addresses = [host.address for host in machines.hosts]
            return SSHCluster(
                [addresses[0], *(addresses[k % 2] for k in range(n))],
                connect_options={
                    "username": "root",
                    "client_keys": [str(machines.key)],
                    "known_hosts": str(machines.known_hosts),
                },
                worker_options=WORKER,
                # without `host` one that knows no way out of its network would listen on loopback alone
                scheduler_options={"host": addresses[0], "dashboard_address": ":0"},
                remote_python=sys.executable,
            )

        yield "SSHCluster", ours, theirs, lambda: until(lambda: not left(machines), "nothing runs on the hosts")


def left(machines: Any) -> list[str]:
    """What runs on the hosts beside their sshds."""
    lines = [line for host in machines.hosts for line in host.processes().values()]
    return [line for line in lines if "sshd" not in line]


def compare(rivals: Rivals, n_rounds: int, n_workers: int) -> None:
    """Rounds of both, and a line of what came of it."""
    name, ours, theirs, emptied = rivals
    taken: dict[str, list[float]] = {"RemoteCluster": [], name: []}
    both = list(zip(taken, (ours, theirs), strict=True))
    for turn in range(n_rounds):
        for who, make in both if turn % 2 else reversed(both):
            taken[who].append(first_result(make, n_workers))
            emptied()
    mine, other = (statistics.median(times) for times in taken.values())
    print(
        f"{n_workers} workers: RemoteCluster {mine:.2f} s, {name} {other:.2f} s, ratio {mine / other:.2f}", flush=True
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", nargs="+", choices=("slurm", "ssh"), default=["slurm", "ssh"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    systems = {"slurm": on_slurm, "ssh": over_ssh}
    for system in arguments.system:
        with tempfile.TemporaryDirectory(prefix="dkd-") as folder, systems[system](Path(folder)) as rivals:
            for make in rivals[1:3]:
                first_result(make, 1)  # the first of each imports and compiles
            rivals[3]()
            for n_workers in arguments.workers:
                compare(rivals, arguments.rounds, n_workers)


if __name__ == "__main__":
    main()
