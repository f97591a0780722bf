"""The environment of a runtime: built, never the daemon's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .process import CLUSTER_MARK, MARK, STATE_MARK
from .variables import SYSTEM_PATH, built

GUESSED = "DASKD_GUESSED"
_GUESSES = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
}
"""What Dask's configuration says to workers by default; the zygote corrects it where the owner's says otherwise."""


def python_of(spec: ClusterSpec, group: WorkerGroupSpec | None = None) -> str:
    """The Python of the scheduler, or of a group's nodes: an absolute path where it can be told."""
    python = (group.python if group is not None else "") or spec.python
    if not python:
        return sys.executable
    if "/" in python:
        return python
    variables = spec.environment | (group.environment if group is not None else {})
    for folder in variables.get("PATH", SYSTEM_PATH).split(":"):
        candidate = Path(folder) / python
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return python


def cwd_of(who: Identity, spec: ClusterSpec, group: WorkerGroupSpec | None = None) -> str:
    """The working directory of the scheduler, or of a group's nodes."""
    return (group.cwd if group is not None else "") or spec.cwd or who.home


def of_instance(
    who: Identity, spec: ClusterSpec, group: WorkerGroupSpec | None, runtime: Path, instance: str, state_id: str
) -> dict[str, str]:
    """The environment of an instance; `runtime` is the folder that holds the package `daskd_runtime`."""
    return _build(who, spec, group, runtime) | {MARK: instance, STATE_MARK: state_id}


def of_zygote(who: Identity, spec: ClusterSpec, runtime: Path, cluster: str, state_id: str) -> dict[str, str]:
    """The environment of a cluster's zygote: what its instances share, and what must stand before they import."""
    environment = _build(who, spec, None, runtime)
    guesses = {name: value for name, value in _GUESSES.items() if name not in environment}
    marks = {CLUSTER_MARK: cluster, STATE_MARK: state_id, GUESSED: ",".join(guesses)}
    return guesses | environment | marks


def _build(who: Identity, spec: ClusterSpec, group: WorkerGroupSpec | None, runtime: Path) -> dict[str, str]:
    given = spec.environment if group is None else spec.environment | group.environment
    return built(who.name, who.home, who.shell, python_of(spec, group), given, [str(runtime), *spec.import_path])
