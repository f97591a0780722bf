"""The environment of a runtime: built, never the daemon's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .process import MARK, STATE_MARK

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def python_of(spec: ClusterSpec) -> str:
    """The cluster's Python, an absolute path where it can be told."""
    if not spec.python:
        return sys.executable
    if "/" in spec.python:
        return spec.python
    for folder in spec.environment.get("PATH", SYSTEM_PATH).split(":"):
        candidate = Path(folder) / spec.python
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return spec.python


def build(
    who: Identity, spec: ClusterSpec, group: WorkerGroupSpec | None, runtime: Path, instance: str, state_id: str
) -> dict[str, str]:
    """Login environment, then the request's, then the group's, then what the runtime needs.

    Parameters
    ----------
    runtime
        The folder that holds the package `daskd_runtime`.
    instance, state_id
        The marks by which its processes are found again.
    """
    environment = {
        "HOME": who.home,
        "USER": who.name,
        "LOGNAME": who.name,
        "SHELL": who.shell,
        "LANG": "C.UTF-8",
        "PATH": f"{Path(python_of(spec)).parent}:{SYSTEM_PATH}",
    }
    environment |= spec.environment
    if group is not None:
        environment |= group.environment
    search = [str(runtime), *spec.import_path]
    if environment.get("PYTHONPATH"):
        search.append(environment["PYTHONPATH"])
    # setproctitle, where it is installed, would wipe the marks
    return environment | {
        "PYTHONPATH": ":".join(search),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",
        MARK: instance,
        STATE_MARK: state_id,
    }
