"""A daemon of a benchmark's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Served:
    """`daskd serve` in a folder; what it launched is ended with it.

    Parameters
    ----------
    more
        What else stands in its configuration, TOML.

    Attributes
    ----------
    address
        Where it listens.
    pid
        Its process id.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self._state = folder / "state"
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        socket = runtime / "daskd.sock"
        config = folder / "daskd.toml"
        config.write_text(f'[daemon]\nruntime_dir = "{runtime}"\nlog_level = "warning"\n{more}')
        argv = [sys.executable, "-m", "daskd", "serve", "--config", str(config), "--state-dir", str(self._state)]
        self.address = f"unix:{socket}"
        self._process = subprocess.Popen(argv)
        self.pid = self._process.pid
        while not socket.exists():
            if self._process.poll() is not None:
                raise SystemExit("the daemon did not start")
            time.sleep(0.02)

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        while left := self._launched():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _launched(self) -> list[int]:
        mark, found = str(self._state).encode(), []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found
