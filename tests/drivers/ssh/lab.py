"""Hosts on one machine: each a network, a process and a mount namespace with a real sshd in it. Needs root.

A cable that is pulled sends neither RST nor FIN, so only time-outs tell; an sshd is PID 1 of its host, so its end
is the end of every process there.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NETWORK = "198.18.{}"
"""Of the range for benchmarks, where nothing real answers; one /24 a lab."""


class Unavailable(Exception):
    """No namespaces can be made here; the text says why."""


def until(condition: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    """Wait until that is true; fails when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.05)


def check_available() -> None:
    """See that hosts can be made here.

    Raises
    ------
    Unavailable
        When they can't.
    """
    if os.geteuid() or not Path(SSHD).exists() or shutil.which("ip") is None:
        raise Unavailable(f"it needs root, {SSHD} and iproute2")
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if tried.returncode:
        raise Unavailable(f"namespaces can't be made: {tried.stderr.decode(errors='replace').strip()}")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, f"{' '.join(argv)}: {done.stderr.strip()}"


@dataclass
class Machine:
    """One host."""

    lab: Lab
    number: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.lab.network}.{self.number}"

    @property
    def folder(self) -> Path:
        return self.lab.folder / f"h{self.number}"

    @property
    def namespace(self) -> str:
        return f"{self.lab.name}h{self.number}"

    @property
    def cable(self) -> str:
        return f"{self.lab.name}v{self.number}"

    def plug_in(self) -> None:
        """Make its network and its keys."""
        self.folder.mkdir()
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key"))
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        with self.lab.known_hosts.open("a") as file:
            file.write(f"{self.address} {key}\n")
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _run("ip", "link", "set", self.cable, "master", self.lab.name, "up")
        inside = ("ip", "-n", self.namespace)
        _run(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "link", "set", "lo", "up")

    def start(self, *settings: str) -> None:
        """Boot it: its sshd listens when this returns."""
        lines = [
            f"ListenAddress {self.address}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.lab.folder}/id.pub",
            "PidFile none",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "UsePAM no",
            "MaxStartups 100",
            *settings,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        argv = ["ip", "netns", "exec", self.namespace, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # a home of the lab's own, which the hosts share, and a shell that reads no file
        boot = f"hostname h{self.number} && mount --bind {self.lab.folder}/passwd /etc/passwd"
        argv += ["--uts", "sh", "-c", f"{boot} && exec {SSHD} -D -e -f {self.folder}/sshd_config"]
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until(self._listens, f"h{self.number} listens: {(self.folder / 'sshd.log').read_text()[-500:]}")

    def _listens(self) -> bool:
        return b"Server listening" in (self.folder / "sshd.log").read_bytes().rpartition(b"--- off\n")[2]

    @property
    def logins(self) -> int:
        """How often somebody has logged in."""
        return (self.folder / "sshd.log").read_text().count("Accepted publickey")

    def switch_off(self) -> None:
        """End all that runs on it, at once."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(60)
        self.process = None
        until(lambda: not self.processes(), f"nothing runs on h{self.number}")
        with (self.folder / "sshd.log").open("ab") as log:
            log.write(b"--- off\n")

    def pull_cable(self) -> None:
        """Cut it off; what runs on it goes on."""
        _run("ip", "link", "set", self.cable, "down")

    def mend_cable(self) -> None:
        """Undo that."""
        _run("ip", "link", "set", self.cable, "up")

    def processes(self, of: str = "") -> dict[int, str]:
        """Command lines of what runs on it, by pid on this machine; with `of` only of those that hold that text."""
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and _is_in(entry, self.namespace):
                with suppress(OSError):
                    line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if line and of in line:
                        found[int(entry)] = line
        return found

    def unplug(self) -> None:
        """Take it away."""
        self.switch_off()
        with suppress(AssertionError):  # it was never plugged in
            _run("ip", "netns", "del", self.namespace)


def _is_in(pid: str, namespace: str) -> bool:
    with suppress(OSError):
        inside = Path(f"/run/netns/{namespace}").stat()
        own = Path(f"/proc/{pid}/ns/net").stat()
        return (own.st_dev, own.st_ino) == (inside.st_dev, inside.st_ino)
    return False


@dataclass
class Lab:
    """Hosts on a network of their own, of which this machine is the .254."""

    folder: Path
    name: str
    network: str
    hosts: list[Machine] = field(default_factory=list)

    @property
    def gateway(self) -> str:
        return f"{self.network}.254"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def key(self) -> Path:
        return self.folder / "id"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def close(self) -> None:
        for host in self.hosts:
            host.unplug()
        _run("ip", "link", "del", self.name)


@contextmanager
def lab(n: int) -> Iterator[Lab]:
    """So many hosts, running; all of it is gone afterwards.

    Raises
    ------
    Unavailable
        When it can't be made here.
    """
    check_available()
    Path("/run/sshd").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="dkl-", dir="/tmp"))
    folder.chmod(0o755)
    made = _network(folder)
    try:
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.key))
        made.known_hosts.touch()
        made.home.mkdir()
        accounts = f"root:x:0:0:root:{made.home}:/bin/sh\nsshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
        (folder / "passwd").write_text(accounts)
        for number in range(1, n + 1):
            host = Machine(made, number)
            made.hosts.append(host)
            host.plug_in()
            host.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def _network(folder: Path) -> Lab:
    """A bridge that nobody else has, hence a network that nobody else has."""
    for third in random.sample(range(256), 256):
        made = Lab(folder, f"dk{third}", NETWORK.format(third))
        added = subprocess.run(["ip", "link", "add", made.name, "type", "bridge"], capture_output=True, check=False)
        if b"File exists" in added.stderr:
            continue
        assert not added.returncode, added.stderr
        _run("ip", "addr", "add", f"{made.gateway}/24", "dev", made.name)
        _run("ip", "link", "set", made.name, "up")
        return made
    raise AssertionError("every network is taken")


def kill(pid: int) -> None:
    """kill -9; one that has gone is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
