"""What a folder's records and /proc show of an instance, and how its processes are ended.

Standard library alone, like `process.py`, `files.py` and `logs.py`: other drivers send these files to hosts that have
nothing of daskd.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import read_document
from .process import ProcessId, boot_id, in_session_of, marked, send, state_of


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is of one instance, as it was found; nothing in the documents is checked yet.

    Attributes
    ----------
    launched
        It has a folder.
    age
        Seconds since something was made in its folder.
    report, end, goodbye
        The JSON objects that runtime and supervisor left.
    claimed
        Its supervisor has said who it is.
    same_boot
        It did so since this machine was started.
    supervisor, child
        The letter of /proc's state of each; None where it does not live.
    pid
        The child's.
    left
        Something of it runs on without a supervisor.
    """

    launched: bool
    age: float = 0.0
    report: dict[str, Any] | None = None
    end: dict[str, Any] | None = None
    goodbye: dict[str, Any] | None = None
    claimed: bool = False
    same_boot: bool = True
    supervisor: str | None = None
    child: str | None = None
    pid: int | None = None
    left: bool = False


def process_of(document: dict[str, Any] | None, boot: str) -> ProcessId | None:
    """The process that a document names, of the boot of that id; None where it names none."""
    if document is None:
        return None
    pid, start = document.get("pid"), document.get("start")
    if isinstance(pid, int) and isinstance(start, int) and 1 < pid < 1 << 31:
        return ProcessId(boot, pid, start)
    return None


class Supervised:
    """The processes that a supervisor's record names."""

    def __init__(self, folder: Path) -> None:
        record = read_document(folder / "supervisor.json")
        boot = str(record.get("boot")) if record else ""
        child = record.get("child") if record else None
        self.boot = boot
        self.supervisor = process_of(record, boot)
        self.child = process_of(child if isinstance(child, dict) else None, boot)

    def processes(self, instance: str, state_id: str, of: int | None = None) -> list[ProcessId]:
        """What runs of an instance, the supervisor aside: what bears its mark, or is in the supervisor's session.

        With `of` only processes of that uid: anybody can put any mark into an environment of their own.
        """
        leader = self.supervisor
        return [
            seen.process
            for seen in marked(state_id, of)
            if seen.process != leader
            and (seen.instance == instance or (leader is not None and in_session_of(leader, seen)))
        ]


def facts(folder: Path, instance: str, state_id: str) -> Facts:
    """What this machine shows of the instance of that folder."""
    try:
        age = time.time() - folder.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return Facts(launched=False)
    found = Supervised(folder)
    alive = state_of(found.supervisor) if found.supervisor else None
    # read after its state: it is written just before the supervisor goes
    end = read_document(folder / "end.json")
    same_boot = found.supervisor is None or found.boot == boot_id()
    left = False
    if end is None and found.supervisor is not None and alive is None and same_boot:
        left = bool(found.processes(instance, state_id, of=os.geteuid()))
    return Facts(
        launched=True,
        age=age,
        report=read_document(folder / "report.json"),
        end=end,
        goodbye=read_document(folder / "goodbye.json"),
        claimed=found.supervisor is not None,
        same_boot=same_boot,
        supervisor=alive,
        child=state_of(found.child) if found.child else None,
        pid=found.child.pid if found.child else None,
        left=left,
    )


def end(folder: Path, instance: str, state_id: str, force: bool) -> bool:
    """Ask for an instance's end.

    Returns
    -------
    bool
        False when nothing of it runs.
    """
    found = Supervised(folder)
    alive = found.supervisor is not None and state_of(found.supervisor) is not None
    if alive and not force:
        assert found.supervisor is not None
        return send(found.supervisor, signal.SIGTERM)
    if not force and not alive and read_document(folder / "end.json") is not None:
        return False
    # the supervisor may be gone, or stopped: end what is the instance's, one by one
    asked = [send(process, signal.SIGKILL) for process in found.processes(instance, state_id)]
    if alive and found.supervisor is not None:
        send(found.supervisor, signal.SIGCONT)
        return send(found.supervisor, signal.SIGTERM)
    return any(asked)


def running(clusters: Path, known: set[str], state_id: str) -> Iterator[tuple[str, str]]:
    """Instances of this daemon's state that run and are not known: names as found, and their cluster ("": none tells).

    Parameters
    ----------
    clusters
        The folder of the clusters' folders.
    """
    without: dict[int, tuple[str, str, ProcessId]] = {}  # session: instance, cluster and the supervisor that made it
    for cluster, name, supervisor in _supervisors(clusters):
        if name in known:
            continue
        if state_of(supervisor) is not None:
            yield name, cluster
        else:
            without[supervisor.pid] = (name, cluster, supervisor)
    for seen in marked(state_id):
        if seen.instance and seen.instance not in known:
            yield seen.instance, ""
        name, cluster, leader = without.get(seen.session, ("", "", None))
        if leader is not None and in_session_of(leader, seen):
            yield name, cluster


def _supervisors(clusters: Path) -> Iterator[tuple[str, str, ProcessId]]:
    for cluster in os.listdir(clusters) if clusters.is_dir() else ():
        instances = clusters / cluster / "instances"
        for name in os.listdir(instances) if instances.is_dir() else ():
            supervisor = Supervised(instances / name).supervisor
            if supervisor is not None:
                yield cluster, name, supervisor
