"""What tests of the zygote use: a cluster's directory, its zygote, and instances that it forks. All are real."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from node_cluster import RUNTIME, living, wait_for

BEFORE_IMPORTS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
}


class ZygoteCluster:
    """A cluster's directory, in a folder of its own, with a zygote; to be left as a context."""

    def __init__(self, below: str = "c", **env: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dkz-", dir="/tmp"))
        self.directory = self.folder / below
        (self.directory / "instances").mkdir(parents=True)
        shutil.copytree(RUNTIME, self.directory / "runtime" / "daskd_runtime")
        self.mark = f"DASKD_CLUSTER={self.folder}"
        self.shared = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.directory / "runtime"),
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",
            **env,
        }
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the zygote."""
        marks = {"DASKD_CLUSTER": str(self.folder), "DASKD_GUESSED": ",".join(BEFORE_IMPORTS)}
        with (self.folder / "zygote.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "daskd_runtime", "zygote", str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=BEFORE_IMPORTS | self.shared | marks,
                start_new_session=True,
            )

    def connect(self) -> socket.socket:
        """A connection on which the zygote has greeted."""

        def greeted() -> socket.socket | None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(60)
            folder = os.open(self.directory, os.O_PATH)
            try:
                connection.connect(f"/proc/self/fd/{folder}/zygote.sock")
                if json.loads(read_line(connection) or b"{}").get("version") == 1:
                    return connection
            except OSError:
                assert self.process.poll() is None, (self.folder / "zygote.log").read_text()
            finally:
                os.close(folder)
            connection.close()
            return None

        found = wait_for(greeted)
        assert isinstance(found, socket.socket)
        return found

    def ask(self, request: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        """The zygote's answer."""
        with self.connect() as connection:
            socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], descriptors)
            return dict(json.loads(read_line(connection)))

    def write(self, name: str, role: str, argv: list[str] | None = None, **spec: Any) -> Path:
        """An instance's directory, ready to be launched."""
        instance = self.directory / "instances" / name
        instance.mkdir()
        launch = {
            "version": 1,
            "instance": name,
            "argv": argv or [sys.executable, "-m", "daskd_runtime", role, str(instance)],
            "cwd": str(self.directory),
            "env": {**self.shared, "DASKD_INSTANCE": name, "ONLY_HERE": "1"},
            "log": {"max_bytes": 1 << 20, "files": 4},
            "grace": 20.0,
        }
        common = {"version": 1, "role": role, "cluster": "c-1", "cluster_name": "etl", "instance": name}
        common |= {"runtime_version": "0.1.0", "host": "127.0.0.1", "tls": None}
        (instance / "launch.json").write_text(json.dumps(launch))
        (instance / "spec.json").write_text(json.dumps({**common, **spec}))
        return instance

    def write_scheduler(self, name: str = "s-1", link_fd: int | None = None, **changes: Any) -> Path:
        """A scheduler's."""
        held = {"seconds": 100, "memory_share": 0.5}
        spec = {"link_fd": link_fd, "port": 0, "dashboard": None, "held": held, "orphan_timeout": 1000}
        return self.write(name, "scheduler", **{**spec, **changes})

    def write_node(self, scheduler: Path, workers: int, name: str = "n-1") -> Path:
        """A node's."""
        return self.write(
            name,
            "node",
            incarnation=0,
            group="default",
            scheduler_report=str(scheduler / "report.json"),
            scheduler=None,
            workers=[{"name": f"default-{i}"} for i in range(workers)],
            nthreads=1,
            memory_limit=0,
            resources={},
            local_directory=str(self.folder / "scratch"),
            death_timeout=30,
            join_timeout=60,
            dashboard=False,
        )

    def fork(self, instance: Path) -> dict[str, Any]:
        """Have an instance forked, and wait for its supervisor's record."""
        answer = self.ask({"directory": str(instance)})
        assert answer.get("pid"), answer
        record = instance / "supervisor.json"
        wait_for(record.exists)
        return dict(json.loads(record.read_text()))

    def address(self, scheduler: Path) -> str:
        """Where a scheduler is, once it runs."""
        report = scheduler / "report.json"
        return str(wait_for(lambda: report.exists() and json.loads(report.read_text())["address"]))

    def end(self, instance: Path) -> dict[str, Any]:
        """An instance's end record, once it is there."""
        path = instance / "end.json"
        wait_for(path.exists)
        return dict(json.loads(path.read_text()))

    def clean(self) -> None:
        """End whatever is left."""
        self.process.kill()
        self.process.wait(10)
        for left in [*living(self.mark), *self._forked()]:
            with contextlib.suppress(psutil.Error):
                left.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forked(self) -> list[psutil.Process]:
        """What shows the command line of the zygote, as all that it forked does."""
        return [p for p in psutil.process_iter() if str(self.directory) in " ".join(_cmdline(p))]

    def __enter__(self) -> ZygoteCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.clean()


def _cmdline(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def read_line(connection: socket.socket) -> bytes:
    """What comes up to a line's end, or the connection's."""
    data = b""
    while not data.endswith(b"\n") and (more := connection.recv(4096)):
        data += more
    return data


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
