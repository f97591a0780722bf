"""`daskd doctor`: what is wrong on this machine, and how to mend it. It changes nothing."""

from __future__ import annotations

import enum
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daskd import __version__, places
from daskd.config import Config, load_config
from daskd.drivers.registry import installed
from daskd.model.errors import DaskdError, InvalidConfig, StateUnusable
from daskd.store.database import check_database
from daskd.store.directory import check_directory
from daskd.store.mounts import refuse_network

from . import probes
from .state import DATABASE, state_dirs

MEBIBYTE = 1 << 20
FULL_BYTES, FULL_SHARE = 100 * MEBIBYTE, 0.01
SCARCE_BYTES, SCARCE_SHARE = 1024 * MEBIBYTE, 0.05
FEW_FILES = 4096
OLDEST_DISTRIBUTED = (2024, 11)


class Level(str, enum.Enum):
    """How bad it is: nothing, something to know, something that keeps daskd from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing; with the mend, if there is something to mend."""

    level: Level
    about: str
    words: str
    mend: str = ""

    def line(self) -> str:
        """As it is shown."""
        mend = f"\n      -> {self.mend}" if self.mend else ""
        return f"{self.level.value:<4}  {self.about}: {self.words}{mend}"


def examine(config_file: Path | None, state_dir: Path | None) -> list[Finding]:
    """Look at everything; the order is that of the start."""
    try:
        config = load_config(config_file)
        found = [Finding(Level.OK, "configuration", str(config.file or "no file; defaults"))]
    except InvalidConfig as error:
        found = [Finding(Level.FAIL, "configuration", error.words)]
        config = Config()
    looks: list[Callable[[], Iterator[Finding]]] = [
        _program,
        _kernel,
        lambda: _state(config, state_dir),
        lambda: _runtime(config),
        lambda: _pythons(config),
        _systemd,
    ]
    for look in looks:
        try:
            found += look()
        except DaskdError as error:
            found.append(Finding(Level.FAIL, "daskd", error.words))
        except OSError as error:
            found.append(Finding(Level.FAIL, str(error.filename or "system"), str(error.strerror or error)))
    return found


def _program() -> Iterator[Finding]:
    try:
        found = installed()
    except AttributeError as error:
        yield Finding(
            Level.FAIL, "daskd", f"a driver can't be loaded: {error}", "install it anew, or remove its package"
        )
        return
    if "local" in found.drivers:
        yield Finding(Level.OK, "daskd", f"{__version__}, drivers: {', '.join(found.drivers)}")
    else:
        mend = "install daskd by pip, which registers it: pip install 'daskd[daemon]'"
        yield Finding(Level.FAIL, "daskd", "the driver 'local' is not installed", mend)
    for name, words in found.broken.items():
        yield Finding(Level.WARN, f"driver {name}", words)


def _kernel() -> Iterator[Finding]:
    if probes.has_pidfd():
        yield Finding(Level.OK, "kernel", os.uname().release)
    else:
        yield Finding(
            Level.WARN, "kernel", f"{os.uname().release} is old, or forbids pidfd_open", "use Linux 5.3 or newer"
        )
    soft, hard = probes.open_files()
    if soft < FEW_FILES:
        mend = f"`ulimit -n {min(hard, 65536)}` before the start, or LimitNOFILE= in the unit"
        yield Finding(Level.WARN, "open files", f"{soft} allowed here, few for many workers", mend)


def _state(config: Config, given: Path | None) -> Iterator[Finding]:
    candidates = state_dirs(config, given, os.environ, os.geteuid())
    state = next((path for path in candidates if path.exists()), None)
    if state is None:
        yield Finding(Level.OK, "state", f"none yet; `daskd serve` makes it in {candidates[-1]}")
        yield disk(next(path for path in candidates[-1].parents if path.exists()))
        return
    try:
        refuse_network(state)
        check_directory(state)
        if (state / DATABASE).exists():
            check_database(state / DATABASE, places.machine_id())
        holder = probes.lock_holder(state / "lock")
        yield Finding(
            Level.OK, "state", f"{state}, " + (f"in use by process {holder}" if holder else "in use by nobody")
        )
    except StateUnusable as error:
        yield Finding(Level.FAIL, "state", error.words)
    yield disk(state)


def disk(path: Path) -> Finding:
    """Whether there is room where the state is."""
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    inode_share = inodes.f_favail / inodes.f_files if inodes.f_files else 1.0
    return room(path, usage.free, usage.free / (usage.total or 1), inode_share)


def room(path: Path, free: int, share: float, inode_share: float) -> Finding:
    """What so much room means.

    Parameters
    ----------
    free
        Bytes.
    share, inode_share
        Of the file system's bytes, of its inodes, that are free.
    """
    words = f"{path}: {free // MEBIBYTE} MiB ({share:.0%}) and {inode_share:.0%} of the inodes free"
    mend = (
        "make room: with a full disk nothing can be created or changed; `[logs]` and `[history]` bound what daskd keeps"
    )
    if (free < FULL_BYTES and share < SCARCE_SHARE) or inode_share < FULL_SHARE:
        return Finding(Level.FAIL, "disk", words, mend)
    if free < SCARCE_BYTES or share < SCARCE_SHARE or inode_share < SCARCE_SHARE:
        return Finding(Level.WARN, "disk", words, mend)
    return Finding(Level.OK, "disk", words)


def _runtime(config: Config) -> Iterator[Finding]:
    uid = os.geteuid()
    folder = config.daemon.runtime_dir or places.runtime_dir(os.environ, uid)
    if uid == 0 and not config.daemon.runtime_dir and Path("/run/daskd").is_dir():
        folder = Path("/run/daskd")
    if not os.path.lexists(folder):
        yield Finding(Level.OK, "runtime directory", f"{folder}, made at the start")
        return
    try:
        places.check_runtime_dir(folder, uid)
        yield Finding(Level.OK, "runtime directory", str(folder))
    except StateUnusable as error:
        yield Finding(Level.FAIL, "runtime directory", error.words)
    for address in config.daemon.listen or (f"unix:{folder / 'daskd.sock'}",):
        yield _socket(Path(address.removeprefix("unix:")))


def _socket(path: Path) -> Finding:
    state = probes.socket_state(path)
    if state is probes.Socket.LISTENING:
        return Finding(Level.OK, "socket", f"{path}: a daemon listens")
    if state is probes.Socket.STALE:
        return Finding(
            Level.WARN, "socket", f"{path}: left by a daemon that was killed", "start daskd: it takes the place"
        )
    if state is probes.Socket.FOREIGN:
        return Finding(
            Level.FAIL, "socket", f"{path}: is no socket", "remove it, or set `daemon.listen` to another place"
        )
    if state is probes.Socket.FORBIDDEN:
        mend = "a daemon of another user has it: look at its owner, or set `daemon.listen` to another place"
        return Finding(Level.FAIL, "socket", f"{path}: can't be reached", mend)
    return Finding(Level.OK, "socket", f"{path}: no daemon runs")


def _pythons(config: Config) -> Iterator[Finding]:
    """The Python that clusters have when nobody names one, and those that profiles name."""
    yield _python("python", "", Level.FAIL)
    for name, profile in config.profiles.items():
        if profile.spec.python:
            yield _python(f"python of profile {name}", profile.spec.python, Level.WARN)


def _python(about: str, program: str, bad: Level) -> Finding:
    answer = probes.distributed_of(program)
    if answer.version is None:
        mend = f"{answer.program} -m pip install distributed, or name another by `python` in a profile's spec"
        return Finding(bad, about, f"{answer.program} can't import distributed: {answer.words}", mend)
    if answer.version < OLDEST_DISTRIBUTED:
        mend = f"{answer.program} -m pip install --upgrade distributed"
        return Finding(bad, about, f"{answer.program}: distributed {answer.words} is older than 2024.11", mend)
    return Finding(Level.OK, about, f"{answer.program}, distributed {answer.words}")


def _systemd() -> Iterator[Finding]:
    unit = probes.unit()
    if unit is None:
        words = "does not run here, or not for this user: clusters live beside the daemon, and outlive it"
        yield Finding(Level.OK, "systemd", words)
        return
    command = "systemctl --user" if unit.of_user else "systemctl"
    if unit.load_state == "not-found":
        yield Finding(Level.OK, "systemd", "daskd.service is not installed; `make install` does")
    elif unit.active_state == "failed":
        journal = "journalctl --user -u daskd" if unit.of_user else "journalctl -u daskd"
        mend = f"`{journal} -n 50` says why; then {command} restart daskd"
        yield Finding(Level.FAIL, "systemd", f"daskd.service failed ({unit.result})", mend)
    else:
        yield Finding(Level.OK, "systemd", f"daskd.service is {unit.active_state}, {unit.file_state}")
    if unit.of_user and unit.active_state == "active" and not unit.lingers:
        words = "this user does not linger: daemon and clusters end with the user's last login"
        yield Finding(Level.WARN, "systemd", words, "loginctl enable-linger")
