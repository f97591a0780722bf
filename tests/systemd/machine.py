"""A real systemd as PID 1 of a container, over an overlay of this machine's own root: what it writes is gone after it.

It shares this machine's network, and sees this project and its environment at their own paths.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..daemon_process import until

ROOT = Path(__file__).parents[2]
PACKAGES = {"systemd-nspawn": "systemd-container", "dbus-daemon": "dbus", "nsenter": "util-linux"}
_PAM = Path("/usr/share/pam-configs/systemd")


class Refused(Exception):
    """This machine's kernel, or who we are on it, does not allow it; the text says what."""


def install_missing() -> None:
    """Install what a container with a systemd needs."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    missing += [] if _PAM.exists() else ["libpam-systemd"]
    if not missing:
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=True, timeout=300, **quiet)
    argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    subprocess.run(argv, check=True, timeout=300, **quiet)


class Machine:
    """The container: `run` commands in it; made by `machine`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.console = folder / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def run(self, *argv: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, and answer with what it said."""
        done = subprocess.run(
            [*self._enter(), *argv], capture_output=True, text=True, timeout=timeout, check=False, cwd="/"
        )
        assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command in the container, its input and output on pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._enter(), *argv], stdin=pipe, stdout=pipe, text=True, cwd="/")

    def show(self, unit: str, name: str, *manager: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", *manager, "show", "--value", f"--property={name}", unit).stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file in the container, folders made as needed."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _enter(self) -> list[str]:
        leader = self._leader()
        assert leader is not None, self.console.read_text()
        return ["nsenter", f"--target={leader}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]

    def _leader(self) -> int | None:
        """The container's PID 1, as it is known here."""
        if self._nspawn is None:
            return None
        pids = [self._nspawn.pid]
        for _ in range(3):
            for pid in pids:
                with suppress(OSError):
                    program = Path(f"/proc/{pid}/exe").readlink().name
                    if program == "systemd":
                        return pid
            pids = [child for pid in pids for child in _children(pid)]
        return None

    def boot(self) -> None:
        """Mount and start it; `Refused` where that is not allowed."""
        self.folder.mkdir(exist_ok=True)
        # what it writes is in memory: an overlay's upper folder may not be on another overlay
        self._mount("-t", "tmpfs", "tmpfs", str(self.folder))
        for name in ("up", "work", "root"):
            (self.folder / name).mkdir()
        layers = f"lowerdir=/,upperdir={self.folder / 'up'},workdir={self.folder / 'work'}"
        self._mount("-t", "overlay", "overlay", "-o", layers, str(self.root))
        self._quieten()
        argv = ["systemd-nspawn", "--quiet", "--keep-unit", "--register=no", f"--directory={self.root}"]
        argv += [f"--machine=t{os.getpid()}", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        # a container has a /tmp of its own, and a clone may lie in this one's
        argv += [f"--bind={folder}" for folder in sorted({ROOT, Path(sys.prefix)})]
        with self.console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*argv, "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        until(self._is_up, "the container's systemd is up", timeout=120)

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise Refused(f"systemd-nspawn ended: {self.console.read_text()[-500:]}")
        if self._leader() is None:
            return False
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _mount(self, *argv: str) -> None:
        done = subprocess.run(["mount", *argv], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Refused(f"mount {' '.join(argv[:3])}: {done.stderr.strip()}")

    def _quieten(self) -> None:
        """Services of this machine stay out of the container; and it has an identity of its own."""
        units = self.root / "etc/systemd/system"
        wanted = [path.name for path in units.glob("*.wants/*.service")]
        for name in (*wanted, "systemd-networkd.service", "systemd-resolved.service", "console-getty.service"):
            mask = units / name
            mask.unlink(missing_ok=True)
            mask.symlink_to("/dev/null")
        (self.root / "etc/machine-id").unlink(missing_ok=True)
        (self.root / "etc/machine-id").write_text("")
        # users of the container must reach the project and its Python, wherever they are
        python = Path(sys.executable)
        for folder in {*ROOT.parents, ROOT, *python.parents, *python.resolve().parents}:
            inside = self.root / str(folder).lstrip("/")
            inside.chmod(inside.stat().st_mode | 0o055)

    def end(self) -> None:
        """Power off, and leave nothing."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)  # it asks its PID 1 to power off
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait(60)
        for place in (self.root, self.folder):
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True, timeout=60, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A container that is up; `Refused` where there can't be one."""
    if os.geteuid() != 0:
        raise Refused("only root may mount an overlay")
    install_missing()
    made = Machine(folder)
    try:
        made.boot()
        yield made
    finally:
        made.end()
