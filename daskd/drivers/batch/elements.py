"""Pure: what an instance is called at its batch system, in its handle."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from daskd.drivers.local import observe
from daskd.drivers.local.records import Facts
from daskd.drivers.protocol import Observation
from daskd.model.cluster import Cause, Handle, Role, State
from daskd.model.names import is_instance_id

from .system import REST, Row

HANDLE_VERSION = 1

Element = tuple[str, int]
"""Name of the jobs, and index."""

_MARKED = re.compile(r"(?:.*-)?(d[a-z2-7]{13})", re.ASCII)


def handle_of(
    driver: str,
    instance: str,
    element: Element,
    cluster: str,
    folder: str,
    now: float,
    role: Role = Role.NODE,
    nodes: int = 1,
) -> Handle:
    """What finds an instance later.

    Parameters
    ----------
    folder
        The cluster's, of its owner.
    now
        Unix seconds: who remembers what is no longer listed is asked from then on.
    nodes
        Of the job.
    """
    name, index = element
    data = {
        "cluster": cluster,
        "name": name,
        "index": index,
        "element": f"{name}.{index}",
        "folder": folder,
        "prepared": now,
        "role": role.value,
        "nodes": nodes,
    }
    return Handle(driver=driver, version=HANDLE_VERSION, id=instance, announce=instance, data=data)


def element_of(handle: Handle) -> Element:
    """Name and index."""
    return str(handle.data["name"]), int(handle.data["index"])


def is_scheduler(handle: Handle) -> bool:
    """Whether an instance is a cluster's scheduler."""
    return handle.data.get("role") == Role.SCHEDULER.value


def nodes_of(handle: Handle) -> int:
    """Nodes of the job; one in the handles of releases that knew of no more."""
    return int(handle.data.get("nodes", 1))


def batch_of(name: str) -> str | None:
    """The batch's id within a job's name; None for what is none of daskd's."""
    match = _MARKED.fullmatch(name)
    return match[1] if match is not None and is_instance_id(match[1]) else None


def of_rest(handle: Handle, listed: Mapping[Element, Row]) -> Row | None:
    """The row of those of its array that ended before they began, where it is one of them."""
    name, index = element_of(handle)
    rest = listed.get((name, REST))
    if rest is None or rest.state is not State.ENDED or (name, index) in listed:
        return None
    return dataclasses.replace(rest, index=index)


def by_element(rows: Iterable[Row]) -> dict[Element, Row]:
    """Rows by name and index; where there are several, what lives, then what came last."""
    found: dict[Element, Row] = {}
    for row in rows:
        key = (row.name, row.index)
        before = found.get(key)
        if before is None or row.state is not State.ENDED or before.state is State.ENDED:
            found[key] = row
    return found


def strays(driver: str, rows: Iterable[Row], known: Iterable[Handle], state_id: str) -> tuple[Handle, ...]:
    """What bears this daemon's mark, lives, and was not asked about; its id is its element's name."""
    asked = {element_of(handle) for handle in known}
    found = []
    for row in rows:
        batch = batch_of(row.name)
        if batch is None or batch[1:6] != state_id or (row.name, row.index) in asked or row.state is State.ENDED:
            continue
        name = f"{row.name}.{row.index}"
        found.append(handle_of(driver, name, (row.name, row.index), "", "", 0.0))
    return tuple(found)


def observed(handle: Handle, row: Row, record: Mapping[str, object] | None, now: float) -> Observation:
    """One instance by its row, and, once it has ended, by what its supervisor wrote down.

    Parameters
    ----------
    record
        The documents `end`, `last_end`, `report` and `goodbye`.
    """
    runs = row.state is State.RUNNING
    seen = Observation(
        handle,
        row.state,
        row.words,
        row.end,
        host=row.host,
        started=(row.started if row.used is None else now - row.used) if runs else None,
        wait=row.wait,
        expected_end=(row.over if row.left is None else now + row.left) if runs else None,
    )
    left = recorded(handle, record)
    if left is None:
        return seen
    if row.state is not State.ENDED or row.end is None:
        return dataclasses.replace(seen, report=left.report)
    # by its system's word all of its nodes have ended, whether or not each of them could write that down
    told = record or {}
    left = recorded(handle, {**told, "end": told.get("end") or told.get("last_end")}) or left
    # why the system ended it is the system's to say; how it ended by itself, its supervisor's
    by_itself = row.end.cause in (Cause.EXITED, Cause.SIGNAL) and left.end is not None
    # what may have gone on where its system lost it has not, if its supervisor wrote down the end
    certain = row.end.certain or left.end is not None
    return dataclasses.replace(
        seen,
        end=left.end if by_itself else dataclasses.replace(row.end, certain=certain),
        words=left.words if by_itself else row.words,
        report=left.report,
        ended=left.ended,
        goodbye=left.goodbye,
    )


def recorded(handle: Handle, record: Mapping[str, object] | None) -> Observation | None:
    """An end by the supervisor's own record; None where there is none. Of a report alone comes an unknown state."""
    if record is None:
        return None
    told = {name: document for name, document in record.items() if isinstance(document, dict)}
    facts = Facts(launched=True, report=told.get("report"), end=told.get("end"), goodbye=told.get("goodbye"))
    if facts.end is None and facts.report is None:
        return None
    if facts.end is None:
        return Observation(handle, State.UNKNOWN, report=observe.report_of(facts.report))
    return observe.observation(handle, facts, host="")
