"""What tests of the node use: a scheduler's process, a node's, its workers, all of them real."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

RUNTIME = Path(__file__).parents[2] / "daskd" / "runtime"

SCHEDULER = """
import asyncio, json, os, sys
from pathlib import Path
from distributed import Scheduler
from distributed.security import Security

here, port, tls = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])

def note(kind, message):
    with open(here / "events", "a") as file:
        file.write(json.dumps([kind, message]) + chr(10))

async def daskd_join(**message):
    note("join", message)
    return json.loads((here / "answer").read_text())

async def daskd_node_event(**message):
    note("event", message)

async def main():
    security = Security(require_encryption=True, tls_ca_file=tls["ca"], tls_scheduler_cert=tls["cert"],
        tls_scheduler_key=tls["key"]) if tls else None
    protocol = "tls" if tls else "tcp"
    scheduler = Scheduler(host="127.0.0.1", port=port, protocol=protocol, security=security,
        dashboard_address="127.0.0.1:0")
    scheduler.handlers.update(daskd_join=daskd_join, daskd_node_event=daskd_node_event)
    async with scheduler:
        (here / "address.partial").write_text(scheduler.address)
        os.replace(here / "address.partial", here / "address")
        await scheduler.finished()

if __name__ == "__main__":
    asyncio.run(main())
"""


def wait_for(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """What `condition` gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("never came true")


def living(mark: str) -> list[psutil.Process]:
    """Living processes with `mark` in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if mark.encode() in environ and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Cluster:
    """A scheduler's process and a node's, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.instance = directory / "i-1"
        self.instance.mkdir()
        shutil.copytree(RUNTIME, directory / "runtime" / "daskd_runtime")
        (directory / "scheduler.py").write_text(SCHEDULER)
        self.answer({"result": "ok"})
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(directory / "runtime"),
            "DASKD_INSTANCE": str(self.instance),
            "SPT_NOENV": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self.node: subprocess.Popen[bytes]

    @property
    def mark(self) -> str:
        return f"DASKD_INSTANCE={self.instance}"

    def answer(self, answer: dict[str, str]) -> None:
        (self.directory / "answer").write_text(json.dumps(answer))

    def _popen(self, argv: list[str], log: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            process = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_scheduler(self, port: int = 0, tls: dict[str, str] | None = None) -> str:
        (self.directory / "address").unlink(missing_ok=True)
        argv = [sys.executable, "scheduler.py", str(self.directory), str(port), json.dumps(tls)]
        env = {key: value for key, value in self.env.items() if key != "DASKD_INSTANCE"}
        self.scheduler = self._popen(argv, "scheduler.log", env)
        address = self.directory / "address"
        return str(wait_for(lambda: address.exists() and address.read_text()))

    def write_spec(self, **changes: Any) -> None:
        spec: dict[str, Any] = {
            "version": 1,
            "role": "node",
            "cluster": "c-1",
            "cluster_name": "etl",
            "instance": "i-1",
            "incarnation": 0,
            "runtime_version": "0.1.0",
            "group": "default",
            "scheduler_report": None,
            "scheduler": None,
            "host": "127.0.0.1",
            "tls": None,
            "workers": [{"name": "default-0"}, {"name": "default-1"}],
            "nthreads": 1,
            "memory_limit": 0,
            "resources": {},
            "local_directory": str(self.directory / "scratch"),
            "death_timeout": 30,
            "join_timeout": 30,
            "dashboard": False,
        }
        (self.instance / "spec.json").write_text(json.dumps({**spec, **changes}))

    def start_node(self, *before: str, python: tuple[str, ...] = (sys.executable,), **changes: Any) -> None:
        self.write_spec(**changes)
        argv = [*before, *python, "-m", "daskd_runtime", "node", str(self.instance)]
        self.node = self._popen(argv, "node.log", self.env)

    def start(self, **changes: Any) -> str:
        """Start both, and wait until the workers run."""
        address = self.start_scheduler()
        self.start_node(scheduler=address, **changes)
        names = [worker["name"] for worker in changes.get("workers", [{"name": "-0"}, {"name": "-1"}])]
        wait_for(lambda: len(self.told("worker-started")) == len(names))
        return address

    def notes(self, kind: str) -> list[dict[str, Any]]:
        events = self.directory / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        return [message for noted, message in map(json.loads, lines) if noted == kind]

    def told(self, event: str) -> list[str]:
        return [message["words"] for message in self.notes("event") if message["event"] == event]

    def report(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.instance / "report.json").read_text()))
        except FileNotFoundError:
            return {}

    def log(self) -> str:
        return (self.directory / "node.log").read_text()

    def end_of_node(self, seconds: float = 60.0) -> tuple[int, str]:
        """The node's exit code and its log's last line."""
        code = self.node.wait(seconds)
        return code, self.log().splitlines()[-1]

    def forkserver(self) -> psutil.Process:
        """The node's child that forks its workers: it names itself where it was forked, else its code is its name."""
        children = psutil.Process(self.node.pid).children()
        [found] = [child for child in children if "forkserver" in " ".join([child.name(), *child.cmdline()])]
        return found

    def clean(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        for left in living(self.mark):
            with contextlib.suppress(psutil.Error):
                left.kill()
