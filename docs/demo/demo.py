"""The main job, end to end, on real processes: what `make demo` runs.

A daemon, a cluster, work in it; the client is killed, the daemon is killed; another client has all of it back, the
daemon's adaptive policy follows the load, and in the end nothing is left running. Every step is checked: the exit
code is 0 only if each really happened.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

HERE = Path(__file__).parent
TASKS = 40
STARTED = time.monotonic()


def say(words: str) -> None:
    """One line of the story, with the seconds since its beginning."""
    print(f"[{time.monotonic() - STARTED:6.2f} s] {words}", flush=True)


def until(condition: Callable[[], T], what: str, timeout: float = 60.0) -> T:
    """What `condition` answers once it is true; the demo fails when it never is."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: not within {timeout:g} s: {what}")
        time.sleep(0.05)
    return answer


class Demo:
    """The processes of the demo, and the folder that holds all they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.runs.touch()
        (folder / "run").mkdir(mode=0o700)
        self.socket = folder / "run" / "daskd.sock"
        config = folder / "daskd.toml"
        config.write_text(f'[daemon]\nruntime_dir = "{folder / "run"}"\n')
        self.serve = [sys.executable, "-m", "daskd", "serve", "--config", str(config)]
        self.serve += ["--state-dir", str(folder / "state")]
        self.env = {**os.environ, "DASKD_ADDRESS": f"unix:{self.socket}", "DEMO_RUNS": str(self.runs)}
        self.daemon: subprocess.Popen[bytes] | None = None

    def start_daemon(self) -> None:
        """Start it and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        with (self.folder / "daskd.log").open("ab") as log:
            self.daemon = subprocess.Popen(self.serve, env=self.env, stdout=log, stderr=log)
        until(self.socket.exists, "the daemon listens")

    def client(self, script: str) -> subprocess.Popen[str]:
        """A client process of its own."""
        argv = [sys.executable, str(HERE / script)]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, text=True, cwd=HERE)

    def daskctl(self, *argv: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "daskctl", *argv], env=self.env, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    def processes(self) -> dict[int, str]:
        """Every living process that belongs to the cluster, by its command line or environment."""
        mark, found = str(self.folder / "state").encode(), {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (self.daemon and int(entry.name) == self.daemon.pid):
                continue
            with suppress(OSError):
                zombie = b") Z" in (entry / "stat").read_bytes()
                command = (entry / "cmdline").read_bytes()
                if not zombie and (mark in command or mark in (entry / "environ").read_bytes()):
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def clean_up(self) -> None:
        """End what a failed demo left."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def relay(process: subprocess.Popen[str], last: str) -> None:
    """Print what a client says until it says `last`."""
    assert process.stdout is not None
    for line in process.stdout:
        say(f"    {line.rstrip()}")
        if line.startswith(last):
            return
    raise SystemExit(f"FAILED: the client ended before it said {last!r}; exit code {process.wait()}")


def first_session(demo: Demo) -> None:
    """A client makes a cluster, gives it work, and is killed in the middle of it."""
    say("a first Python process makes a cluster and gives it work")
    first = demo.client("first_session.py")
    relay(first, "holding")
    until(lambda: len(demo.runs.read_text().splitlines()) >= 4, "some tasks have run")
    first.kill()
    first.wait()
    done = len(set(demo.runs.read_text().splitlines()))
    say(f"killed that process with SIGKILL: {done} of {TASKS} tasks have begun, their futures were held by it alone")
    if done >= TASKS:
        raise SystemExit("FAILED: the work was over before its client was killed")


def kill_daemon(demo: Demo) -> None:
    """The daemon is killed; nothing of the cluster notices."""
    assert demo.daemon is not None
    before = set(demo.processes())
    demo.daemon.kill()
    demo.daemon.wait()
    say(f"killed the daemon with SIGKILL: {len(before)} processes of the cluster run on")
    if not before <= set(demo.processes()):
        raise SystemExit("FAILED: a process of the cluster ended with the daemon")
    begun = time.monotonic()
    demo.start_daemon()
    until(lambda: "RUNNING" in demo.daskctl("get", "demo"), "the daemon has the cluster again")
    say(f"started the daemon again: it has its cluster back after {time.monotonic() - begun:.2f} s")


def second_session(demo: Demo) -> None:
    """Another client has all of it back, and the daemon's policy follows the load."""
    say("a second Python process attaches to the cluster")
    second = demo.client("second_session.py")
    relay(second, "everything is back")
    relay(second, "done")
    if second.wait():
        raise SystemExit("FAILED: the second client failed")
    runs = demo.runs.read_text().splitlines()
    if len(runs) != len(set(runs)):
        raise SystemExit(f"FAILED: {len(runs) - len(set(runs))} tasks ran twice")
    say(f"{len(runs)} tasks ran in all, none of them twice")


def follow_logs(demo: Demo) -> None:
    """The logs, from the beginning and as they grow."""
    argv = [sys.executable, "-m", "daskctl", "logs", "demo", "-f"]
    logs = subprocess.Popen(argv, env=demo.env, stdout=subprocess.PIPE, text=True)
    assert logs.stdout is not None
    lines = [logs.stdout.readline() for _ in range(5)]
    say("daskctl logs demo -f:")
    for line in lines:
        say(f"    {line.rstrip()[:110]}")
    demo.daskctl("delete", "demo")
    rest = logs.stdout.read()
    if logs.wait() or not all(lines):
        raise SystemExit("FAILED: the logs could not be followed")
    say(f"daskctl delete demo: the cluster has ended; {rest.count(chr(10))} more log lines until its end")


def main() -> None:
    """The whole story."""
    folder = Path(tempfile.mkdtemp(prefix="daskd-demo-"))
    demo = Demo(folder)
    try:
        demo.start_daemon()
        say("daskd serves")
        first_session(demo)
        kill_daemon(demo)
        second_session(demo)
        follow_logs(demo)
        until(lambda: not demo.processes(), "no process of the cluster is left")
        assert demo.daemon is not None
        demo.daemon.terminate()
        if demo.daemon.wait(30):
            raise SystemExit("FAILED: the daemon did not stop cleanly")
        say("stopped the daemon; nothing is left running")
    finally:
        demo.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
