"""Which process is which: pids are used again, so a process is known by boot, pid and start time together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MARK = "DASKD_INSTANCE"
CLUSTER_MARK = "DASKD_CLUSTER"
STATE_MARK = "DASKD_STATE"


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, for ever: `start` is its start time in clock ticks since the boot."""

    boot: str
    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Whoever has a pid now; None when nobody has."""
        found = _stat(pid)
        return None if found is None else cls(boot_id(), pid, found[1])


@dataclass(frozen=True, slots=True)
class Marked:
    """A living process that bears the mark of a daemon's state.

    Attributes
    ----------
    session
        The id of its session, which is the pid of the process that made it.
    instance, cluster
        The other marks, "" where it lacks one. /proc shows the environment that a program was executed with:
        of what the zygote forked, the zygote's, with the cluster's mark alone.
    """

    process: ProcessId
    session: int
    instance: str
    cluster: str


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State letter, start time and session of a process; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the second field, the command, may hold anything, closing parentheses included
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19]), int(fields[3])


def state_of(process: ProcessId) -> str | None:
    """The letter of /proc's state ("R", "S", "T", ...) of a process that lives; None when it has ended.

    A zombie has ended: `kill 0` would say otherwise, and PID 1 need not reap.
    """
    if process.boot != boot_id():
        return None
    found = _stat(process.pid)
    if found is None or found[1] != process.start or found[0] in "ZX":
        return None
    return found[0]


def send(process: ProcessId, signum: int) -> bool:
    """Signal a process, and never another that has its pid now.

    Returns
    -------
    bool
        False when it has ended.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # the descriptor is of whoever had the pid when it was opened: so look after opening
        if state_of(process) is None:
            return False
        signal.pidfd_send_signal(descriptor, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _owner(pid: str) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def _environment(pid: int) -> dict[bytes, bytes]:
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}


def marked(state_id: str, of: int | None = None) -> Iterator[Marked]:
    """Every living process that bears the mark of this daemon's state; with `of` only processes of that uid."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or (of is not None and _owner(entry) != of):
            continue
        environment = _environment(int(entry))
        if environment.get(STATE_MARK.encode()) != state_id.encode():
            continue
        found = _stat(int(entry))
        if found is not None and found[0] not in "ZX":
            instance, cluster = (
                environment.get(m.encode(), b"").decode(errors="replace") for m in (MARK, CLUSTER_MARK)
            )
            yield Marked(ProcessId(boot_id(), int(entry), found[1]), found[2], instance, cluster)


def in_session_of(leader: ProcessId, seen: Marked) -> bool:
    """Whether a process that the zygote forked, or a child of it, is in the session that `leader` made.

    A pid is given to nobody else while it is a session's id; after that its next owner would show.
    """
    if leader.boot != boot_id() or seen.session != leader.pid or not seen.cluster:
        return False
    now = _stat(leader.pid)
    return seen.process.start >= leader.start and (now is None or now[1] == leader.start)
