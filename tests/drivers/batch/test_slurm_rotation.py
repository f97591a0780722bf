"""A computation that outlasts its jobs, on a real Slurm that ends each of them after two minutes."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client, wait

from daskd_client import AsyncDaskd, RemoteCluster
from tests.daemon_process import DaemonProcess, daemon_process

from .lab import PARTITION, Slurm, Unavailable, slurm, until

pytestmark = pytest.mark.systems

WORKERS = 2
TASK_S = 0.5
BOUND_S = 900.0


@pytest.fixture
def system() -> Iterator[Slurm]:
    """A Slurm of one node."""
    try:
        with slurm(1) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture
def daemon(system: Slurm) -> Iterator[DaemonProcess]:
    """A daemon that uses it."""
    with daemon_process('[clusters]\ncontact_host = "127.0.0.1"\n') as process:
        with process.config.open("a") as config:
            config.write(f'[drivers.slurm]\nconf = "{system.conf}"\nper_minute = 6000\npoll = 2\n')
            config.write(f'log_directory = "{process.folder}/shared"\n')
        process.start()
        yield process
        process.kill()


def work_noted_in(runs: str) -> Callable[[int], bytes]:
    """A task that writes down that it ran; it travels by value, for jobs don't find this module."""

    def work(n: int) -> bytes:
        time.sleep(TASK_S)
        descriptor = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{n}\n".encode())
        finally:
            os.close(descriptor)
        return n.to_bytes(4, "big") * 5000

    return work


async def told(daemon: DaemonProcess) -> Counter[str]:
    """How many events of each type its cluster has."""
    async with AsyncDaskd(daemon.address) as daskd:
        return Counter(event.type for event in await daskd.events("sim"))


@pytest.mark.timeout(2 * BOUND_S)
@pytest.mark.parametrize(
    ("adapts", "tasks", "generations"), [(False, 960, 3), (True, 600, 2)], ids=["fixed", "adaptive"]
)
def test_a_computation_outlasts_its_jobs(
    daemon: DaemonProcess, system: Slurm, tmp_path: Path, adapts: bool, tasks: int, generations: int
) -> None:
    """Results are held over generations of jobs: no task failed, none ran twice, no job met its time limit."""
    runs = tmp_path / "runs"
    with RemoteCluster(
        "sim",
        address=daemon.address,
        driver="slurm",
        n_workers=0 if adapts else WORKERS,
        worker={"nthreads": 1, "memory_limit": "400MB"},
        options={"queue": PARTITION, "walltime": "00:02:00"},
    ) as cluster:
        if adapts:
            cluster.adapt(minimum=0, maximum=WORKERS)
        with Client(cluster) as client:
            futures = client.map(work_noted_in(str(runs)), range(tasks), key="work")
            wait(futures, timeout=BOUND_S)
            assert {future.status for future in futures} == {"finished"}
            results = client.gather(futures)
            assert results == [n.to_bytes(4, "big") * 5000 for n in range(tasks)]
        ran = Counter(int(line) for line in runs.read_text().split())
        assert ran == Counter(range(tasks))
        events = asyncio.run(told(daemon))
        assert events["ROTATED"] >= (generations - 1) * WORKERS
        assert not events["WORKER_LOST"]
        assert not system.jobs("TIMEOUT")
        cluster.shutdown()
    until(lambda: not system.jobs("PENDING", "RUNNING", "COMPLETING"), "no job is left")
