"""What the processes of a cluster are: some were started by a command line, some forked from a zygote."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..daemon_process import DaemonProcess

_ROLES = {
    "daskd-supervise": "supervisor",
    "daskd-zygote": "zygote",
    "dask-scheduler": "scheduler",
    "dask-node": "node",
}


def command_line(pid: int) -> list[str]:
    """What a process was started with; nothing when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def role_of(pid: int) -> str:
    """ "supervisor", "zygote", "scheduler", "node"; "" for any other, and for one that has gone."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
    if name in _ROLES:
        return _ROLES[name]
    argv = command_line(pid)
    if any(text.endswith("/supervisor.py") for text in argv):
        return "supervisor"
    return argv[3] if argv[2:3] == ["daskd_runtime"] and len(argv) > 3 else ""


def supervised_by(pid: int) -> str | None:
    """The folder of the instance whose lock a supervisor holds; None when it holds none (any more)."""
    with suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if "/instances/" in target and target.endswith("/lock"):
                    return os.path.dirname(target)
    return None


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def running_of(daemon: DaemonProcess, uid: str) -> list[int]:
    """Living processes of one cluster."""
    return [pid for pid in daemon.processes() if uid in _environment(pid) or uid in " ".join(command_line(pid))]


def of_role(daemon: DaemonProcess, uid: str, role: str) -> list[int]:
    """The processes of a cluster that are its scheduler, its nodes, or the supervisors of its nodes."""
    found = [pid for pid in running_of(daemon, uid) if role_of(pid) == role]
    if role != "supervisor":
        return found
    return [
        pid for pid in found if (folder := supervised_by(pid)) and '"node"' in Path(folder, "spec.json").read_text()
    ]
