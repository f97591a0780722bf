"""What `daskd doctor` asks this machine. Each probe answers; none changes anything, and none waits for long."""

from __future__ import annotations

import enum
import fcntl
import os
import re
import resource
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IMPORT_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 2.0
_VERSION = re.compile(r"(\d+)\.(\d+)\S*", re.ASCII)


class Socket(enum.Enum):
    """What is in a socket's place."""

    LISTENING = enum.auto()
    STALE = enum.auto()
    ABSENT = enum.auto()
    FOREIGN = enum.auto()
    FORBIDDEN = enum.auto()


@dataclass(frozen=True, slots=True)
class Distributed:
    """A Python's `distributed`: year and month of its version, None when it can't be imported; `words` say more."""

    program: str
    version: tuple[int, int] | None
    words: str


@dataclass(frozen=True, slots=True)
class Unit:
    """The state of daskd.service as systemd tells it; `lingers` for a user's alone."""

    of_user: bool
    load_state: str
    active_state: str
    file_state: str
    result: str
    lingers: bool


def has_pidfd() -> bool:
    """Whether processes can be held by descriptor."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def open_files() -> tuple[int, int]:
    """How many files this process may have open: now, and at most."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def lock_holder(path: Path) -> str:
    """The process that holds a state's lock, "" if none does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        # shared: two doctors are no two daemons. A daemon that starts in this very moment would be refused once
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return ""


def socket_state(path: Path) -> Socket:
    """What is in a socket's place."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return Socket.ABSENT
    except OSError:
        return Socket.FORBIDDEN
    if not stat.S_ISSOCK(mode):
        return Socket.FOREIGN
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return Socket.STALE
        except PermissionError:
            return Socket.FORBIDDEN
        except OSError:
            return Socket.LISTENING  # its queue is full
    return Socket.LISTENING


def distributed_of(program: str) -> Distributed:
    """Ask a Python, "" for the daemon's own, for its `distributed`."""
    program = program or sys.executable
    code = "import distributed; print(distributed.__version__)"
    try:
        done = subprocess.run(
            [program, "-c", code], capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return Distributed(program, None, f"it took more than {IMPORT_TIMEOUT_S:g} s")
    except OSError as error:
        return Distributed(program, None, str(error.strerror))
    lines = done.stdout.split() if done.returncode == 0 else []
    found = _VERSION.fullmatch(lines[-1]) if lines else None
    if found is None:
        said = done.stderr.strip().splitlines()
        return Distributed(program, None, said[-1] if said else f"exit code {done.returncode}")
    return Distributed(program, (int(found[1]), int(found[2])), found[0])


def unit() -> Unit | None:
    """The state of daskd.service at this user's manager; None where there is no such manager."""
    of_user = os.geteuid() != 0
    manager = ["--user"] if of_user else []
    names = ("LoadState", "ActiveState", "UnitFileState", "Result")
    told = _ask(["systemctl", *manager, "show", "daskd.service", f"--property={','.join(names)}"])
    if told is None or "LoadState" not in told:
        return None
    lingers = False
    if of_user:
        lingers = (_ask(["loginctl", "show-user", str(os.geteuid()), "--property=Linger"]) or {}).get("Linger") == "yes"
    load, active, file, result = (told.get(name, "") or "unknown" for name in names)
    return Unit(of_user, load, active, file, result, lingers)


def _ask(argv: list[str]) -> dict[str, str] | None:
    """The properties that a command prints; None when it can't."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False)
        if done.returncode == 0:
            return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return None
