"""Pure: the script of a batch. It carries all that its jobs need, for the nodes have nothing of daskd."""

from __future__ import annotations

import dataclasses
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from daskd.drivers import payload
from daskd.drivers.node_spec import node_spec
from daskd.drivers.protocol import Batch, Member
from daskd.drivers.scheduler_spec import scheduler_spec
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .options import BatchOptions
from .system import Handed, Jobs, Script, System

MOST_BYTES = 4 << 20
"""Slurm takes no larger script."""

EXIT_NO_PYTHON = 81
REDACTED = "<payload>"
_END = "DASKD_END"
_MODULES = (
    ("local", "files"),
    ("local", "interfaces"),
    ("local", "process"),
    ("local", "variables"),
    ("batch", "job"),
)


def pythons(spec: ClusterSpec, group: WorkerGroupSpec) -> list[str]:
    """Interpreters, the first that the node has being taken: the group's, else the cluster's or any."""
    if group.python:
        return [group.python]
    return list(dict.fromkeys([spec.python or sys.executable, "python3"]))


def jobs_folder(folder: str) -> str:
    """Where in a cluster's folder lies what its jobs print, and need beside their scripts."""
    return f"{folder}/jobs"


def handed_over(system: System, options: BatchOptions, group: WorkerGroupSpec, body: str, jobs: Jobs) -> Handed:
    """How jobs of a group come to their system; `body` is what their script does."""
    if not system.keeps_output:
        place = f'"$((daskd_place + {system.first_index}))"'
        prefix = shlex.quote(f"{jobs.output}/{jobs.name}.")
        body = f"daskd_place={system.index_variable}\nexec >>{prefix}{place}.out 2>&1\n{body}"
    own: dict[str, str] = {}
    if not system.private_script:
        file = f"{jobs.name}.sh"
        own, body = {file: body}, f". {shlex.quote(f'{jobs.output}/{file}')}\n"
    header = tuple(
        line
        for line in system.directives(group, options)
        if not any(text in line for text in options.job_directives_skip)
    )
    handed = system.handed(Script(options.shebang, header, body), jobs)
    return dataclasses.replace(handed, files={**own, **handed.files})


def body_of(
    system: System,
    batch: Batch,
    group: WorkerGroupSpec,
    options: BatchOptions,
    members: Sequence[Member],
    files: Mapping[str, Any],
) -> str:
    """The shell's part: prologue, and a Python that becomes the supervisor, on each node.

    Parameters
    ----------
    files
        `folder`, `secret` and `state`, as the job is told.
    """
    request = {**request_of(batch, group, options, members, files), "rank_variable": system.rank_variable}
    environment = batch.spec.environment | group.environment
    return _shell(system, options, batch.spec, group, environment, payload.packed(_MODULES, request))


def body_without_secrets(system: System, options: BatchOptions, spec: ClusterSpec, group: WorkerGroupSpec) -> str:
    """The same to be shown: `REDACTED` stands for what jobs are told, and for the values of variables."""
    names = spec.environment | group.environment
    return _shell(system, options, spec, group, dict.fromkeys(names, REDACTED), f"{REDACTED}\n")


def _shell(
    system: System,
    options: BatchOptions,
    spec: ClusterSpec,
    group: WorkerGroupSpec,
    environment: Mapping[str, str],
    sent: str,
) -> str:
    cwd = group.cwd or spec.cwd
    # prologue and search are the first node's: what they make of the environment reaches all
    spread = f"{system.spread(group.nodes, options.cores_of(group))} " if group.nodes > 1 else ""
    candidates = " ".join(shlex.quote(python) for python in pythons(spec, group))
    lines = [
        f"cd {shlex.quote(cwd)} 2>/dev/null || cd || cd /" if cwd else "cd || cd /",
        *_before(group, environment),
        f"for daskd_python in {candidates}; do",
        '    command -v "$daskd_python" >/dev/null 2>&1 && break',
        "done",
        'command -v "$daskd_python" >/dev/null 2>&1 || {',
        f'    echo "daskd: this node has no Python: none of" {shlex.quote(candidates)} >&2',
        f"    exit {EXIT_NO_PYTHON}",
        "}",
        # one process from here on: what the system signals is the supervisor
        f"exec {spread}\"$daskd_python\" -I -S -c {shlex.quote(payload.LOADER)} {system.index_variable} <<'{_END}'",
        sent + _END,
        "",
    ]
    return "\n".join(lines)


def _before(group: WorkerGroupSpec, environment: Mapping[str, str]) -> list[str]:
    """The prologue, as the local driver runs one: after /etc/profile, which knows `module`, and what was asked for."""
    if not group.prologue:
        return []
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return ["[ -r /etc/profile ] && . /etc/profile", *exports, *group.prologue]


def request_of(
    batch: Batch,
    group: WorkerGroupSpec,
    options: BatchOptions,
    members: Sequence[Member],
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """What `job.main` is told."""
    settings = batch.runtime
    runtime = payload.runtime()
    # neither needs the other's key
    other = "worker" if batch.group is None else "scheduler"
    secret = {name: payload.text_of(data) for name, data in files["secret"].items() if not name.startswith(other)}
    told = node_spec(batch) if batch.group is not None else scheduler_spec(batch, options.port_range)
    return {
        "folder": files["folder"],
        "state": files["state"],
        "code": payload.text_of(runtime.code),
        "secret": secret,
        "cwd": group.cwd or batch.spec.cwd,
        # what a prologue makes of them stands
        "environment": {} if group.prologue else batch.spec.environment | group.environment,
        "import_path": list(batch.spec.import_path),
        "launch": {
            "version": 1,
            "log": {"max_bytes": settings.log_max_bytes, "files": settings.log_files},
            "grace": settings.grace,
        },
        "spec": told | {"host": options.interface},
        "daemon": settings.contact_host or socket.gethostname(),
        "nodes": group.nodes,
        "members": [{"id": member.id, "workers": list(member.workers)} for member in members],
    }
