"""A scheduler's process that a test kills and starts again, and a node's whose workers outlive it; all of them real."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distributed import Client, Future

RUNTIME = Path(__file__).parents[2] / "daskd" / "runtime"
PATIENCE = 60.0


def wait_for(condition: Callable[[], Any], what: str = "") -> Any:
    """What a condition gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what or condition}"
        time.sleep(0.02)
    return value


class MortalCluster:
    """A cluster in a directory, of one node with that many workers."""

    def __init__(self, directory: Path, n_workers: int = 2) -> None:
        self.directory = directory
        self.n_workers = n_workers
        self.lives = 0
        self.port = 0
        self.address = ""
        self.journal = directory / "journal"
        shutil.copytree(RUNTIME, directory / "runtime" / "daskd_runtime", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).parent / "gated.py", directory / "runtime")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self.node: subprocess.Popen[bytes]

    # -- processes -----------------------------------------------------------------------------

    def _start(self, role: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        instance = self.directory / str(spec["instance"])
        instance.mkdir()
        common = {"version": 1, "role": role, "cluster": "c-1", "cluster_name": "etl", "runtime_version": "0.1.0"}
        (instance / "spec.json").write_text(json.dumps({**common, "tls": None, "host": "127.0.0.1", **spec}))
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": str(self.directory / "runtime"),
            "SPT_NOENV": "1",
            "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
        }
        with (instance / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "daskd_runtime", role, str(instance)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def start_scheduler(self, *, max_bytes: int = 1 << 30, journal: bool = True) -> None:
        """Start a scheduler, at the address of the one before it, and wait until it has an address."""
        self.lives += 1
        instance = f"s-{self.lives}"
        kept = {"directory": str(self.journal), "max_bytes": max_bytes} if journal else None
        spec = {
            "instance": instance,
            "link_fd": None,
            "port": self.port,
            "dashboard": None,
            "held": {"seconds": 3600, "memory_share": 1.0},
            "orphan_timeout": 3600,
            "options": {"validate": True},
            "journal": kept,
        }
        self.scheduler = self._start("scheduler", spec)
        self.address = wait_for(lambda: self._reported(instance), f"{instance} has an address")
        self.port = int(self.address.rpartition(":")[2])

    def _reported(self, instance: str) -> str | None:
        log = (self.directory / instance / "log").read_text()
        assert self.scheduler.poll() is None, log
        with contextlib.suppress(FileNotFoundError):
            report = json.loads((self.directory / instance / "report.json").read_text())
            return report["address"] if report["phase"] == "running" else None
        return None

    def start_node(self, **changes: Any) -> None:
        """Start the node."""
        spec: dict[str, Any] = {
            "instance": "n-1",
            "incarnation": 0,
            "group": "default",
            "scheduler_report": None,
            "scheduler": self.address,
            "workers": [{"name": f"w-{n}"} for n in range(self.n_workers)],
            "nthreads": 1,
            "memory_limit": 0,
            "resources": {},
            "local_directory": str(self.directory / "scratch"),
            "death_timeout": 60,
            "join_timeout": 60,
            "dashboard": False,
        }
        self.node = self._start("node", {**spec, **changes})

    def start(self, **changes: Any) -> None:
        """Start both, and wait for the workers."""
        self.start_scheduler()
        self.start_node(**changes)
        log = self.directory / "n-1" / "log"
        wait_for(lambda: log.read_text().count("worker-started") == self.n_workers, "the workers have started")

    def settle(self, *clients: Client) -> None:
        """Wait until what clients have sent has come, and is in the journal."""

        def flush(timeout: float, dask_scheduler: Any) -> bool:
            return bool(dask_scheduler.recorder._writer.flush(timeout))

        for client in clients:

            def has_come(client: Client = client) -> bool:
                states = client.sync(client.scheduler.get_task_status, keys=list(client.futures))
                return None not in states.values()

            wait_for(has_come, "the scheduler knows all that was submitted")
        assert self.on_scheduler(flush, PATIENCE)

    def kill(self, *clients: Client) -> None:
        """Kill the scheduler, and clients with it: those do not connect again."""
        for client in clients:
            client.status = "closing"
        self.scheduler.kill()
        self.scheduler.wait(PATIENCE)

    def log(self) -> str:
        """What schedulers and node have said."""
        names = [*(f"s-{n}" for n in range(1, self.lives + 1)), "n-1"]
        logs = [self.directory / name / "log" for name in names]
        return "\n".join(f"===== {log}\n{log.read_text()[-6000:]}" for log in logs if log.exists())

    def end(self) -> None:
        """End everything."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    # -- clients -------------------------------------------------------------------------------

    def client(self, **kwargs: Any) -> Client:
        """Connect a client."""
        return Client(self.address, timeout=PATIENCE, set_as_default=False, **kwargs)

    def on_scheduler(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the scheduler in its process."""
        with self.client() as client:
            return client.run_on_scheduler(function, *args)

    def events(self) -> dict[str, dict[str, Any]]:
        """The scheduler's last event of each type."""

        def told(dask_scheduler: Any) -> list[dict[str, Any]]:
            return list(dask_scheduler.resumption._tell.events)

        return {event["type"]: event for event in self.on_scheduler(told)}

    def resumed(self) -> dict[str, Any]:
        """What the scheduler has told of going on, once it has."""
        return dict(wait_for(lambda: self.events().get("resumed"), "the scheduler goes on")["facts"])

    # -- work ----------------------------------------------------------------------------------

    @property
    def runs_folder(self) -> str:
        """Where tasks count their runs."""
        folder = self.directory / "runs"
        folder.mkdir(exist_ok=True)
        return str(folder)

    def runs(self) -> Counter[str]:
        """How often each task has begun."""
        return Counter({path.name: path.stat().st_size for path in Path(self.runs_folder).iterdir()})

    def gate(self, name: str) -> str:
        """A file that tasks wait for, not there yet."""
        return str(self.directory / f"gate-{name}")


def recovered(client: Client) -> dict[Any, Future]:
    """Recover what is held, as a client's library does."""
    keys = client.sync(client.scheduler.daskd_recover, client=client.id, lost=None)
    futures = {key: Future(key, client) for key in keys}
    client._send_to_scheduler({"op": "client-desires-keys", "keys": list(keys), "client": client.id})
    return futures


@contextlib.contextmanager
def mortal_cluster(directory: Path, n_workers: int = 2, **changes: Any) -> Iterator[MortalCluster]:
    """Start a cluster, and end it, with what it said when the test fails."""
    cluster = MortalCluster(directory, n_workers)
    try:
        cluster.start(**changes)
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.log())
        raise
    finally:
        cluster.end()
