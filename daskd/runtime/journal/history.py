"""Pure: what a journal means for a scheduler that begins: whether it goes on, and with which graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .reader import Contents
from .records import Aside, Ended, Graph, Key, Noted, Record, Stamp, Started

DEATHS = 3
"""After so many deaths within the window the last graphs are suspected."""

WINDOW = 600.0
"""Seconds."""

GIVEN_UP = "given-up"
"""The name of the note that says why a journal is not kept any more."""

_EXACT = {"python": 2, "dask": 3, "distributed": 3, "cloudpickle": 2}
"""Whose versions must be the same, and how many parts of them: graphs are pickles of their classes."""

_SAMPLE = 20


@dataclass(frozen=True)
class Verdict:
    """Whether a scheduler goes on where its predecessor ended; `words` say why not, or what of it can't be had."""

    resumes: bool
    words: str = ""


def judge(contents: Contents, own: Mapping[str, str]) -> Verdict:
    """Decide whether a journal can be gone on with.

    Parameters
    ----------
    contents : Contents
        The journal.
    own : mapping
        This process's versions, by package.
    """
    if contents.header is None:
        return Verdict(False, contents.trouble)
    differing = differing_versions(contents.header.versions, own)
    if differing:
        words = f"the work that the scheduler had was written by other versions, which can't be replayed: {differing}"
        return Verdict(False, words)
    for record in contents.records:
        if isinstance(record, Noted) and record.kind == GIVEN_UP and record.value:
            return Verdict(False, f"the work that the scheduler had was not kept: {record.value}")
    return Verdict(True, contents.trouble)


def differing_versions(written: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Return in words which versions differ so that graphs may be unreadable; empty: none."""
    return ", ".join(
        f"{package} {written[package]} (now {own[package]})"
        for package, parts in _EXACT.items()
        if package in written and package in own and _parts(written[package], parts) != _parts(own[package], parts)
    )


def _parts(version: str, count: int) -> list[str]:
    return version.split(".")[:count]


def deaths(records: Iterable[Record], now: float) -> int:
    """Return how many schedulers ended unasked lately."""
    begun: list[float] = []
    for record in records:
        if isinstance(record, Started):
            begun.append(record.time)
        elif isinstance(record, Ended):
            begun.clear()
    return sum(0 <= now - time <= WINDOW for time in begun)


def set_aside(records: Iterable[Record]) -> set[Stamp]:
    """Return the graphs that were set aside before."""
    return {stamp for record in records if isinstance(record, Aside) for stamp in record.stamps}


def suspects(contents: Contents, now: float) -> tuple[Stamp, ...]:
    """Return the graphs to set aside now: none for the first deaths, then the newest, twice as many each time."""
    died = deaths(contents.records, now)
    if died < DEATHS:
        return ()
    before = set_aside(contents.records)
    left = [stamp for stamp in contents.graphs if stamp not in before]
    return tuple(left[-(2 ** (died - DEATHS)) :])


def named(graphs: Iterable[Graph]) -> str:
    """Return in words which keys graphs were to make."""
    keys: list[Key] = [key for graph in graphs for key in graph.keys]
    names = ", ".join(str(key)[:100] for key in keys[:_SAMPLE])
    return names + (f" and {len(keys) - _SAMPLE} more" if len(keys) > _SAMPLE else "")
