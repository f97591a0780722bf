"""A real daemon in a process and folders of its own, to be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, timeout: float = 60.0) -> T:
    """What `condition` answers once that is true; fails when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.05)
    return answer


class DaemonProcess:
    """`daskd serve`, its folders, and all that it launched."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.runtime_dir = folder / "run"
        self.home = folder / "home"
        self.home.mkdir()
        self.runtime_dir.mkdir(mode=0o700)
        self.socket = self.runtime_dir / "daskd.sock"
        self.address = f"unix:{self.socket}"
        self.config = folder / "daskd.toml"
        self.config.write_text(f'[daemon]\nruntime_dir = "{self.runtime_dir}"\n{config}')
        self.log = folder / "daskd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.wrap: Callable[[list[str]], list[str]] = lambda argv: argv

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client of this daemon."""
        return {**os.environ, "DASKD_ADDRESS": self.address, "XDG_CONFIG_HOME": str(self.home)}

    def start(self, *, wait: bool = True, env: dict[str, str] | None = None) -> None:
        """Start it, and wait until it listens."""
        argv = [sys.executable, "-m", "daskd", "serve"]
        argv += ["--config", str(self.config), "--state-dir", str(self.state_dir)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.wrap(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        if wait:
            process = self.process
            until(lambda: self.socket.exists() or process.poll() is not None, "the daemon listens")
            assert process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; answers with the exit code."""
        return self._signal(signal.SIGTERM)

    def _signal(self, signum: int) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        code = self.process.wait(60)
        if signum == signal.SIGKILL:
            # what a killed daemon leaves in its place is stale, and the next one takes it; the tests wait for the new
            self.socket.unlink(missing_ok=True)
        return code

    def restart(self) -> None:
        """kill -9, and start again."""
        self.kill()
        self.start()

    def processes(self) -> list[int]:
        """Every living process that this daemon launched, or that what it launched did."""
        return sorted(self._launched())

    def _launched(self) -> Iterator[int]:
        state = str(self.state_dir).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == (self.process.pid if self.process else 0):
                continue
            with suppress(OSError):
                status = (entry / "stat").read_bytes()
                if status[status.rindex(b")") + 2 :][:1] in b"ZX":
                    continue
                if state in (entry / "cmdline").read_bytes() or state in (entry / "environ").read_bytes():
                    yield int(entry.name)

    def end(self) -> None:
        """End it and all that it launched."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        deadline = time.monotonic() + 30
        while pids := self.processes():
            assert time.monotonic() < deadline, f"still there: {pids}"
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


@contextmanager
def daemon_process(config: str = "") -> Iterator[DaemonProcess]:
    """A daemon in a folder of its own: a short one, for a unix socket's path is bounded."""
    folder = Path(tempfile.mkdtemp(prefix="dkd-", dir="/tmp"))
    daemon = DaemonProcess(folder, config)
    try:
        yield daemon
    finally:
        daemon.end()
        shutil.rmtree(folder, ignore_errors=True)
