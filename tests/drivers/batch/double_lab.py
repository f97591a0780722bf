"""Doubles of batch systems on this machine: their command lines over local processes. No test of the real ones."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .double_client import ask
from .double_command import DIALECTS
from .lab import until

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_COMMAND = f"""\
import sys
sys.path.insert(0, sys.argv.pop(1))
from {__package__}.double_command import main
sys.exit(main())
"""
"""Of no site's packages, so that it begins within a moment."""


@dataclass
class Double:
    """Server and commands.

    Attributes
    ----------
    folder
        All its files.
    server
        Jobs are its children, and end with it.
    """

    folder: Path
    server: subprocess.Popen[bytes]

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server does not answer within."""
        self.server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.send_signal(signal.SIGCONT)

    def owners(self) -> dict[str, str]:
        """Whose is what has not ended, by job."""
        return {job["id"]: job["owner"] for job in ask(self.folder, verb="list") if job["state"] != "C"}

    def pause(self) -> None:
        """Stop all that runs."""
        ask(self.folder, verb="pause", jobs=list(self.owners()))

    def expire(self, number: int) -> None:
        """Let the time of all jobs be over, and tell them by a signal."""
        ask(self.folder, verb="expire", jobs=list(self.owners()), numbers=[number])

    def delete(self, job: str) -> None:
        """End a job, whoever's it is."""
        ask(self.folder, verb="delete", jobs=[job])

    def pids(self) -> list[int]:
        """What jobs run."""
        mark, found = f"DOUBLE={self.folder}".encode(), []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    continue
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def processes(self) -> dict[int, str]:
        """Command lines of all that jobs run, by pid."""
        found = {}
        for pid in self.pids():
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def close(self) -> None:
        """End all of it, and all that it ran."""
        self.server.kill()
        self.server.wait(60)
        until(lambda: not self._killed(), "nothing of it runs")

    def _killed(self) -> list[int]:
        pids = self.pids()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids


@contextmanager
def double(dialect: str, wrap: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Double]:
    """A double of one of `DIALECTS`; all of it is gone afterwards.

    Parameters
    ----------
    wrap
        What its server is started as, such as `in_reach` where jobs of other users shall run.
    """
    folder = Path(tempfile.mkdtemp(prefix="dkd-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("bin", "spool"):
        (folder / name).mkdir()
    for name in DIALECTS[dialect]:
        argv = [sys.executable, "-I", "-S", "-c", _COMMAND, str(_ROOT), dialect, str(folder), name]
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    argv = [sys.executable, "-I", "-S", str(_HERE / "double_server.py"), str(folder)]
    server = wrap(["setpriv", "--pdeathsig", "KILL", *argv])
    made = Double(folder, subprocess.Popen(server, start_new_session=True))
    try:
        until((folder / "socket").exists, "its server listens")
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
