"""What the journal of a scheduler's work costs, and what it is good for.

    python benchmarks/journal.py [--rounds N] [--keys N]...

Throughput with the journal on and off, in interleaved rounds: one graph of 10,000 tiny tasks, and 2,000 single submits.
Then a scheduler is killed with so many keys wanted: the time until the first of their results is had from the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, Future, wait

TASKS, SUBMITS = 10_000, 2_000
_PATIENCE = 120.0


def increment(x: int) -> int:
    """A tiny task."""
    return x + 1


class Runtime:
    """A scheduler's process and a node's of two workers, in a folder."""

    def __init__(self, folder: Path, journal: bool) -> None:
        self._folder = folder
        self._journal = {"directory": str(folder / "journal"), "max_bytes": 8 << 30} if journal else None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lives = 0
        self.address = ""

    @property
    def journal_bytes(self) -> int:
        """The journal's size."""
        return (self._folder / "journal" / "journal").stat().st_size

    def start(self) -> None:
        """Start both."""
        self.start_scheduler()
        workers = {"workers": [{"name": "w-0"}, {"name": "w-1"}], "nthreads": 1, "memory_limit": 0, "resources": {}}
        times = {"death_timeout": 60, "join_timeout": 60}
        where = {"scheduler": self.address, "scheduler_report": None, "local_directory": str(self._folder / "scratch")}
        self._launch(
            "node", "n-1", {"incarnation": 0, "group": "default", "dashboard": False, **workers, **times, **where}
        )
        with self.client() as client:
            client.wait_for_workers(2, timeout=_PATIENCE)

    def start_scheduler(self) -> None:
        """Start a scheduler, at the address of the one before it."""
        self._lives += 1
        port = int(self.address.rpartition(":")[2]) if self.address else 0
        held = {"held": {"seconds": 3600, "memory_share": 1.0}, "orphan_timeout": 3600}
        spec = {"link_fd": None, "port": port, "dashboard": None, "journal": self._journal, **held}
        self.scheduler = self._launch("scheduler", f"s-{self._lives}", spec)
        report = self._folder / f"s-{self._lives}" / "report.json"
        deadline = time.monotonic() + _PATIENCE
        while not report.exists() or (document := json.loads(report.read_text()))["phase"] != "running":
            if time.monotonic() > deadline or self.scheduler.poll() is not None:
                raise RuntimeError(f"the scheduler did not start: {report.with_name('log').read_text()}")
            time.sleep(0.005)
        self.address = document["address"]

    def _launch(self, role: str, instance: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        folder = self._folder / instance
        folder.mkdir()
        common = {"version": 1, "role": role, "cluster": "c-1", "cluster_name": "etl", "runtime_version": "0.1.0"}
        whole = {**common, "instance": instance, "tls": None, "host": "127.0.0.1", **spec}
        (folder / "spec.json").write_text(json.dumps(whole))
        with (folder / "log").open("wb") as log:
            argv = [sys.executable, "-m", "daskd.runtime", role, str(folder)]
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

    def kill_scheduler(self) -> None:
        """Kill the scheduler."""
        self.scheduler.kill()
        self.scheduler.wait()

    def client(self) -> Client:
        """Connect a client."""
        return Client(self.address, timeout=_PATIENCE, set_as_default=False)

    def end(self) -> None:
        """End everything."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def runtime(journal: bool) -> Iterator[Runtime]:
    """Start a runtime with or without a journal, and end it."""
    with tempfile.TemporaryDirectory(prefix="daskd-benchmark-", ignore_cleanup_errors=True) as folder:
        made = Runtime(Path(folder), journal)
        try:
            made.start()
            yield made
        finally:
            made.end()


def finish(client: Client, futures: list[Future]) -> None:
    """Wait until all are done."""
    with client.as_current():
        wait(futures, timeout=600)


def one_graph(client: Client, salt: int) -> float:
    """Tasks a second of one graph."""
    begin = time.perf_counter()
    futures = client.map(increment, range(TASKS), key=f"graph-{salt}")
    finish(client, futures)
    return TASKS / (time.perf_counter() - begin)


def single_submits(client: Client, salt: int) -> float:
    """Submits a second, each a graph of its own, until all are done."""
    begin = time.perf_counter()
    futures = [client.submit(increment, n, key=f"single-{salt}-{n}") for n in range(SUBMITS)]
    finish(client, futures)
    return SUBMITS / (time.perf_counter() - begin)


def compare(rounds: int, measure: Callable[[Client, int], float]) -> tuple[float, float]:
    """The medians with the journal and without, in interleaved rounds; the first of each does not count."""
    found: dict[bool, list[float]] = {True: [], False: []}
    with runtime(True) as on, runtime(False) as off, on.client() as with_it, off.client() as without:
        for n in range(rounds + 1):
            for journal, client in ((True, with_it), (False, without)):
                speed = measure(client, n)
                if n:
                    found[journal].append(speed)
    return statistics.median(found[True]), statistics.median(found[False])


def recovery(n: int) -> tuple[float, float, float]:
    """Seconds from a kill to a running scheduler's process, and to the first result of n; journal's bytes a key."""
    with runtime(True) as cluster:
        client = cluster.client()
        futures = client.map(increment, range(n), key=[f"k-{i}" for i in range(n)], batch_size=10_000)
        finish(client, futures)
        size = cluster.journal_bytes / n
        client.status = "closing"  # it dies with the scheduler
        begin = time.perf_counter()
        cluster.kill_scheduler()
        cluster.start_scheduler()
        started = time.perf_counter() - begin
        with cluster.client() as other:
            keys = other.sync(other.scheduler.daskd_recover, client=other.id, lost=None)
            other._send_to_scheduler({"op": "client-desires-keys", "keys": ["k-0"], "client": other.id})
            first = Future("k-0", other)
            if first.result(600) != 1 or len(keys) != n:
                raise RuntimeError(f"{len(keys)} of {n} keys came back")
            return started, time.perf_counter() - begin, size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--keys", type=int, action="append", help="how many keys are wanted at the kill; repeatable")
    options = parser.parse_args()
    for title, measure in ((f"one graph of {TASKS} tasks, tasks/s", one_graph), ("single submits/s", single_submits)):
        on, off = compare(options.rounds, measure)
        print(f"{title}: {on:.0f} with the journal, {off:.0f} without: {(off - on) / off:+.1%}", flush=True)
    for n in options.keys or (100, 10_000, 100_000):
        started, first, size = recovery(n)
        words = f"started after {started:.2f} s, first result after {first:.2f} s, {size:.0f} bytes a key"
        print(f"kill -9 with {n} keys: {words}", flush=True)


if __name__ == "__main__":
    main()
