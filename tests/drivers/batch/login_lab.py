"""A login node: a real sshd on loopback, in front of a batch system of this machine. Needs root.

Its sessions are processes that can be stopped (a connection that is silent, as when a cable is pulled) and killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from daskd.drivers.ssh.options import LoginHost

from .lab import Unavailable, free_ports, until

SSHD = "/usr/sbin/sshd"

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized/%u
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
MaxStartups 100
"""


@dataclass
class Login:
    """The sshd, its keys, and who may log in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> LoginHost:
        """As a driver is told of it."""
        return LoginHost(
            host="127.0.0.1",
            port=self.port,
            key=str(self.folder / "id"),
            known_hosts=str(self.folder / "known_hosts"),
            python=sys.executable,
        )

    @property
    def toml(self) -> str:
        """The same in the daemon's configuration."""
        pairs = self.host.model_dump(exclude_none=True).items()
        return "{ " + ", ".join(f"{key} = {value!r}" for key, value in pairs) + " }"

    def make(self) -> None:
        """Make keys; root may log in."""
        for name in ("host_key", "id"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True, timeout=60
            )
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        for name in ("home", "authorized"):
            (self.folder / name).mkdir()
        accounts = f"root:x:0:0:root:{self.folder}/home:/bin/sh\nsshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
        (self.folder / "passwd").write_text(accounts)
        shutil.copy(self.folder / "id.pub", self.folder / "authorized" / "root")
        (self.folder / "sshd_config").write_text(_CONFIG.format(port=self.port, folder=self.folder))

    def start(self) -> None:
        """Begin: it listens when this returns."""
        log = self.folder / "sshd.log"
        # a home of its own, and a shell that reads no file
        boot = f"mount --bind {self.folder}/passwd /etc/passwd && exec {SSHD} -D -e -f {self.folder}/sshd_config"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", boot],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until(lambda: "Server listening" in log.read_text(), "sshd listens")

    def stop(self) -> None:
        """End it, and its sessions: nobody is let in, and nobody is answered any more."""
        if self.process is not None:
            sessions = self.sessions()
            self.process.kill()
            self.process.wait(60)
            self.process = None
            _signal(sessions, signal.SIGKILL)

    def sessions(self) -> list[int]:
        """The processes that serve connections: this sshd's children, and theirs that are still sshd."""
        if self.process is None:
            return []
        found, ahead = [], [self.process.pid]
        while ahead:
            parent = ahead.pop()
            with suppress(OSError):
                children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
                mine = [int(pid) for pid in children if _name(int(pid)).startswith("sshd")]
                found += mine
                ahead += mine
        return found

    def cut(self) -> None:
        """Break every connection; what runs goes on."""
        _signal(self.sessions(), signal.SIGKILL)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Connections that stand say nothing, and new ones are not answered, within."""
        assert self.process is not None
        stopped = [self.process.pid, *self.sessions()]
        _signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def login() -> Iterator[Login]:
    """A login node; all of it is gone afterwards.

    Raises
    ------
    Unavailable
        When it can't be had here.
    """
    if os.geteuid() or not Path(SSHD).exists() or shutil.which("setpriv") is None or shutil.which("unshare") is None:
        raise Unavailable(f"it needs root, {SSHD}, setpriv and unshare")
    Path("/run/sshd").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="dkn-", dir="/tmp"))
    folder.chmod(0o755)
    made = Login(folder, free_ports(1)[0])
    try:
        made.make()
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
