"""What became of an instance: its folder's records, held against /proc."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from daskd.drivers.protocol import Observation, Report, Surroundings
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.names import is_instance_id

from .files import read_document
from .process import ProcessId, boot_id, in_session_of, marked, send, state_of

CLAIM_S = 15.0
"""A supervisor that has not said who it is after so long never began."""


def _process(document: dict[str, Any] | None, boot: str) -> ProcessId | None:
    if document is None:
        return None
    pid, start = document.get("pid"), document.get("start")
    if isinstance(pid, int) and isinstance(start, int) and 1 < pid < 1 << 31:
        return ProcessId(boot, pid, start)
    return None


HOLDER = "embedded.json"
"""In the folder of a scheduler that runs in a daemon: which process that is."""


class Supervised:
    """The processes that a supervisor's record names."""

    def __init__(self, folder: Path) -> None:
        record = read_document(folder / "supervisor.json")
        boot = str(record.get("boot")) if record else ""
        child = record.get("child") if record else None
        self.boot = boot
        self.supervisor = _process(record, boot)
        self.child = _process(child if isinstance(child, dict) else None, boot)

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


def _text(document: dict[str, Any], key: str, most: int = 1000) -> str:
    value = document.get(key)
    # JSON can hold halves of characters, which nothing else takes
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(document: dict[str, Any], key: str) -> int | None:
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31 else None


def _time(document: dict[str, Any], key: str) -> float | None:
    value = document.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1e11 else None


def read_report(folder: Path) -> Report | None:
    """The runtime's report; it is the owner's word, bounded here."""
    document = read_document(folder / "report.json")
    if document is None:
        return None
    return Report(
        phase=_text(document, "phase", 20),
        address=_text(document, "address", 300),
        dashboard=_text(document, "dashboard", 300),
        failure=_text(document, "failure"),
        pid=_number(document, "pid"),
    )


def read_end(folder: Path) -> tuple[End, float | None] | None:
    """The supervisor's end record."""
    document = read_document(folder / "end.json")
    if document is None:
        return None
    known = {cause.value for cause in Cause}
    cause = _text(document, "cause", 40)
    end = End(
        cause=Cause(cause) if cause in known else Cause.EXITED,
        code=_number(document, "code"),
        signal=_number(document, "signal"),
        words=_text(document, "words"),
    )
    return end, _time(document, "ended")


def _lost(handle: Handle, words: str, cause: Cause = Cause.VANISHED, certain: bool = True) -> Observation:
    return Observation(handle, State.ENDED, words, End(cause, words=words, certain=certain))


def observe(handle: Handle, folder: Path, state_id: str) -> Observation:
    """One instance as this machine shows it."""
    if not folder.is_dir():
        return _lost(handle, "it was never launched here")
    report = read_report(folder)
    goodbye = read_document(folder / "goodbye.json")
    by = _text(goodbye, "by", 200) or "a client" if goodbye else ""
    if ended := read_end(folder):
        end, when = ended
        return Observation(handle, State.ENDED, end.words, end, report=report, ended=when, goodbye=by)
    if (holder := read_document(folder / HOLDER)) is not None:
        return _embedded(handle, folder, _process(holder, str(holder.get("boot"))), report, by)
    found = Supervised(folder)
    if found.supervisor is None:
        age = time.time() - folder.stat().st_mtime
        if age < CLAIM_S:
            return Observation(handle, State.STARTING)
        return _lost(handle, "its supervisor never began")
    if found.boot != boot_id():
        return _lost(handle, "this machine was started anew meanwhile", Cause.NODE_LOST)
    letter = state_of(found.supervisor)
    if letter is None:
        # written just before it went?
        if ended := read_end(folder):
            return Observation(handle, State.ENDED, ended[0].words, ended[0], report=report, goodbye=by)
        alive = found.processes(handle.id, state_id, of=os.geteuid())
        return _lost(handle, "its supervisor was killed", certain=not alive)
    state = State.RUNNING if report and report.phase in ("running", "ending") else State.STARTING
    if found.child and state_of(found.child) == "T":
        state = State.PAUSED
    pid = found.child.pid if found.child else None
    return Observation(handle, state, host="localhost", pid=pid, report=report)


def _embedded(
    handle: Handle, folder: Path, holder: ProcessId | None, report: Report | None, goodbye: str
) -> Observation:
    """A scheduler in a daemon: it lives as long as that does, unless it wrote down its end."""
    if holder is None or state_of(holder) is None:
        # written just before it went?
        if ended := read_end(folder):
            return Observation(handle, State.ENDED, ended[0].words, ended[0], report=report, goodbye=goodbye)
        return _lost(handle, "it ended with the daemon that it ran in")
    state = State.RUNNING if report and report.phase in ("running", "ending") else State.STARTING
    return Observation(handle, state, host="localhost", pid=holder.pid, report=report)


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
    if not force and not alive and read_end(folder) is not None:
        return False
    # the supervisor may be gone, or stopped: end what is the instance's, one by one
    asked = [send(process, signal.SIGKILL) for process in found.processes(instance, state_id)]
    if alive and found.supervisor is not None:
        send(found.supervisor, signal.SIGCONT)
        return send(found.supervisor, signal.SIGTERM)
    return any(asked)


def strays(where: Surroundings, known: set[str]) -> tuple[Handle, ...]:
    """Instances of this daemon's state that run and that nobody asked about."""
    found: dict[str, str] = {}
    without: dict[int, tuple[str, str, ProcessId]] = {}  # session: instance, cluster and the supervisor that made it
    root = where.state_dir / "clusters"
    for cluster in os.listdir(root) if root.is_dir() else ():
        instances = root / cluster / "instances"
        for name in os.listdir(instances) if instances.is_dir() else ():
            if is_instance_id(name) and name not in known:
                supervisor = Supervised(instances / name).supervisor
                if supervisor is None:
                    continue
                if state_of(supervisor) is not None:
                    found[name] = cluster
                else:
                    without[supervisor.pid] = (name, cluster, supervisor)
    for seen in marked(where.state_id):
        if seen.instance not in known and is_instance_id(seen.instance):
            found.setdefault(seen.instance, "")
        name, cluster, leader = without.get(seen.session, ("", "", None))
        if leader is not None and in_session_of(leader, seen):
            found.setdefault(name, cluster)
    return tuple(
        Handle(driver="local", version=1, id=instance, announce=instance, data={"cluster": cluster})
        for instance, cluster in sorted(found.items())
    )
