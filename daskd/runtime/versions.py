"""The versions of Python and of the packages that a cluster's processes and clients must agree on."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Mapping

from distributed.versions import get_versions

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

_TASKS_CHANGED = (2025, 2)
"""Since this release of distributed a task is told to a worker in another form. A worker from the other side of it
joins without complaint, fails at its first task, and the task waits for ever."""

_RELEASE = re.compile(r"(\d+)\.(\d+)", re.ASCII)


@functools.cache
def own_versions() -> Mapping[str, str]:
    """Return this process's versions by package; what is not installed is left out.

    Older releases of distributed import numpy and pandas for it, so it is asked for late, and once.
    """
    packages = {name: str(version) for name, version in get_versions()["packages"].items() if version}
    return {**packages, "python": platform.python_version()}


def can_serve(told: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Whether a worker with the versions it told understands the tasks of a scheduler with these of its own.

    A release that is not known is let in.
    """
    releases = [_RELEASE.match(versions.get("distributed", "")) for versions in (told, own)]
    return len({(int(found[1]), int(found[2])) >= _TASKS_CHANGED for found in releases if found}) < 2


def others(told: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return those of the told versions that differ from one's own in a part that matters.

    What one of both does not have differs from nothing.
    """
    return {
        package: told[package]
        for package, parts in COMPARED.items()
        if package in told and package in own and told[package].split(".")[:parts] != own[package].split(".")[:parts]
    }
