"""Which versions of Python, Dask and what Dask pickles with go together. Pure, but for a look at what is installed."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

COMPARED: Mapping[str, int] = {
    "python": 2,
    "dask": 3,
    "distributed": 3,
    "cloudpickle": 2,
    "msgpack": 1,
    "numpy": 1,
    "pandas": 1,
}
"""The packages whose versions matter, and how many parts of them do: 2 of "3.11.7" are "3.11"."""

_GRAPHS_CHANGED = (2025, 4)
"""Since this release of distributed a graph is told to a scheduler in another form, and so is who is asked for its
account: a client from before and a scheduler from after it understand neither, nor the other way round."""

_RELEASE = re.compile(r"(\d+)\.(\d+)", re.ASCII)


class VersionMismatch(UserWarning):
    """This process, the cluster and the daemon have versions that may not go together."""


@dataclass(frozen=True)
class Difference:
    """A package of which a cluster's scheduler has another version than this process."""

    package: str
    here: str
    there: str


def own_versions() -> dict[str, str]:
    """This process's versions of what matters; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in COMPARED:
        if package != "python":
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[Difference, ...]:
    """What both have, in versions that differ in a part that matters."""
    return tuple(
        Difference(package, here[package], there[package])
        for package, parts in COMPARED.items()
        if package in here and package in there and _head(here[package], parts) != _head(there[package], parts)
    )


def can_speak(here: Mapping[str, str], there: Mapping[str, str]) -> bool:
    """Whether a client with the versions `here` can have anything computed by a scheduler with those of `there`.

    Where a version is not known it is taken for granted.
    """
    releases = [_RELEASE.match(versions.get("distributed", "")) for versions in (here, there)]
    sides = {(int(found[1]), int(found[2])) >= _GRAPHS_CHANGED for found in releases if found is not None}
    return len(sides) < 2


def mismatch(cluster: str, python: str, found: tuple[Difference, ...]) -> str:
    """Differences in words, with how to mend them.

    Parameters
    ----------
    cluster
        The cluster's name.
    python
        Its interpreter, if that is on this machine; else empty.
    found
        At least one.
    """
    each = ", ".join(f"{one.package} {one.here} here and {one.there} there" for one in found)
    return f"This session's versions are not those of cluster {cluster!r}: {each}. {_mend(python, found)}"


def _mend(python: str, found: tuple[Difference, ...]) -> str:
    ways = ["make the cluster with python=sys.executable"]
    of_python = next((one.there for one in found if one.package == "python"), "")
    if python:
        ways.append(f"run this session by {python}")
    elif of_python:
        ways.append(f"run this session in Python {'.'.join(_head(of_python, 2))}")
    packages = " ".join(f"{one.package}=={one.there}" for one in found if one.package != "python")
    if packages and not of_python:
        ways.append(f"pip install {packages}")
    text = ", or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


def _head(text: str, parts: int) -> list[str]:
    return text.split(".")[:parts]
