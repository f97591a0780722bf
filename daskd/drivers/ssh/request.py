"""Pure: what a host is told to launch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from daskd.drivers import payload
from daskd.drivers.node_spec import node_spec
from daskd.drivers.protocol import Batch, Member
from daskd.drivers.scheduler_spec import scheduler_spec
from daskd.model.cluster import Handle
from daskd.model.spec import WorkerGroupSpec

from .endpoint import DEFAULT_PYTHON, Endpoint, Take, take_of


def pythons(endpoint: Endpoint, batch: Batch) -> list[str]:
    """Interpreters, the first that the host has being taken."""
    if endpoint.python:
        return [endpoint.python]
    return [python for python in (batch.asked.python or batch.spec.python, DEFAULT_PYTHON) if python]


def worker_take(group: WorkerGroupSpec | None) -> Take:
    """What one worker of a group takes; memory that is left open takes none. A scheduler takes no worker's room."""
    if group is None:
        return Take()
    return Take(1, group.nthreads, 0 if group.memory_limit == "auto" else group.memory_limit)


def launching(
    batch: Batch,
    endpoint: Endpoint,
    members: Sequence[tuple[Member, Handle]],
    secret: dict[str, bytes],
    interface: str,
    ports: str | None,
    code: bytes | None,
) -> dict[str, Any]:
    """The arguments of the verb `launch` for one host.

    Parameters
    ----------
    interface
        Where its workers are to listen; empty: towards the scheduler. A scheduler: empty: at all.
    ports
        The range of ports that a scheduler may take; None: any.
    code
        The runtime, where the host lacks it.
    """
    group, settings = batch.asked, batch.runtime
    # neither needs the other's key
    other = "worker." if batch.group is None else "scheduler."
    mine = {name: payload.text_of(data) for name, data in secret.items() if not name.startswith(other)}
    told = scheduler_spec(batch, ports) if batch.group is None else node_spec(batch)
    return {
        "cluster": batch.cluster,
        "digest": payload.runtime().digest,
        "code": None if code is None else payload.text_of(code),
        "secret": mine,
        "pythons": pythons(endpoint, batch),
        "cwd": group.cwd or batch.spec.cwd,
        "environment": batch.spec.environment | group.environment,
        "import_path": list(batch.spec.import_path),
        "spec": told | {"host": interface or None},
        "launch": {
            "version": 1,
            "log": {"max_bytes": settings.log_max_bytes, "files": settings.log_files},
            "grace": settings.grace,
        },
        "members": [
            {"id": member.id, "workers": list(member.workers), "take": dataclasses.asdict(take_of(handle))}
            for member, handle in members
        ],
    }
