"""What became of an instance: what its folder's records and /proc show, checked and understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daskd.drivers.protocol import Observation, Report, Surroundings
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.names import is_instance_id

from . import records
from .files import read_document
from .process import state_of
from .records import Facts

CLAIM_S = 15.0
"""A supervisor that has not said who it is after so long never began."""


HOLDER = "embedded.json"
"""In the folder of a scheduler that runs in a daemon: which process that is."""


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


def report_of(document: dict[str, Any] | None) -> Report | None:
    """The runtime's report; it is the owner's word, bounded here."""
    if document is None:
        return None
    return Report(
        phase=_text(document, "phase", 20),
        address=_text(document, "address", 300),
        dashboard=_text(document, "dashboard", 300),
        failure=_text(document, "failure"),
        pid=_number(document, "pid"),
        link=_text(document, "link", 300),
    )


def _end(document: dict[str, Any]) -> End:
    """The supervisor's end record."""
    known = {cause.value for cause in Cause}
    cause = _text(document, "cause", 40)
    return End(
        cause=Cause(cause) if cause in known else Cause.EXITED,
        code=_number(document, "code"),
        signal=_number(document, "signal"),
        words=_text(document, "words"),
    )


def _lost(handle: Handle, words: str, cause: Cause = Cause.VANISHED, certain: bool = True) -> Observation:
    return Observation(handle, State.ENDED, words, End(cause, words=words, certain=certain))


def observation(handle: Handle, facts: Facts, host: str = "localhost", fast: float = 0.0) -> Observation:
    """One instance by what its machine shows of it. Pure.

    Parameters
    ----------
    fast
        Seconds by which the clock of the instance's machine is ahead of the daemon's.
    """
    if not facts.launched:
        return _lost(handle, "it was never launched here")
    report = report_of(facts.report)
    if facts.end is not None:
        end, when = _end(facts.end), _time(facts.end, "ended")
        by = _text(facts.goodbye, "by", 200) or "a client" if facts.goodbye else ""
        ended = None if when is None else when - fast
        return Observation(handle, State.ENDED, end.words, end, report=report, ended=ended, goodbye=by)
    if not facts.claimed:
        if facts.age < CLAIM_S:
            return Observation(handle, State.STARTING, host=host)
        return _lost(handle, "its supervisor never began")
    if not facts.same_boot:
        return _lost(handle, "this machine was started anew meanwhile", Cause.NODE_LOST)
    if facts.supervisor is None:
        return _lost(handle, "its supervisor was killed", certain=not facts.left)
    state = State.RUNNING if report and report.phase in ("running", "ending") else State.STARTING
    if facts.child == "T":
        state = State.PAUSED
    return Observation(handle, state, host=host, pid=facts.pid, report=report)


def observe(handle: Handle, folder: Path, state_id: str) -> Observation:
    """One instance as this machine shows it."""
    if (holder := read_document(folder / HOLDER)) is not None:
        return _embedded(handle, folder, holder)
    return observation(handle, records.facts(folder, handle.id, state_id))


def _embedded(handle: Handle, folder: Path, holder: dict[str, Any]) -> Observation:
    """A scheduler in a daemon: it lives as long as that does, unless it wrote down its end."""
    process = records.process_of(holder, str(holder.get("boot")))
    alive = process is not None and state_of(process) is not None
    # read after its state: it is written just before it went
    told, end, goodbye = (read_document(folder / name) for name in ("report.json", "end.json", "goodbye.json"))
    if end is not None:
        return observation(handle, Facts(launched=True, report=told, end=end, goodbye=goodbye))
    if process is None or not alive:
        return _lost(handle, "it ended with the daemon that it ran in")
    report = report_of(told)
    state = State.RUNNING if report and report.phase in ("running", "ending") else State.STARTING
    return Observation(handle, state, host="localhost", pid=process.pid, report=report)


def strays(where: Surroundings, known: set[str]) -> tuple[Handle, ...]:
    """Instances of this daemon's state that run and that nobody asked about."""
    found: dict[str, str] = {}
    for instance, cluster in records.running(where.state_dir / "clusters", known, where.state_id):
        if is_instance_id(instance):
            found[instance] = found.get(instance) or cluster
    return tuple(
        Handle(driver="local", version=1, id=instance, announce=instance, data={"cluster": cluster})
        for instance, cluster in sorted(found.items())
    )
