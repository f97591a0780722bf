"""Pure: what any driver tells a node, wherever that runs (`spec.json` of `docs/runtime.md`)."""

from __future__ import annotations

from typing import Any

import daskd
from daskd.model.cluster import Role

from .protocol import Batch


def node_spec(batch: Batch) -> dict[str, Any]:
    """What the nodes of a batch are told that all drivers tell alike.

    To be added: `instance`, `workers`, `host`, `tls`, and `scheduler_report` where the address is learnt from it;
    `memory_limit` may be "auto" and `local_directory` empty, which is then decided where the node runs.
    """
    group = batch.group
    assert group is not None
    return {
        "version": 1,
        "role": Role.NODE.value,
        "cluster": batch.cluster,
        "cluster_name": batch.cluster_name,
        "runtime_version": daskd.__version__,
        "incarnation": 0,
        "group": group.name,
        "scheduler_report": None,
        "scheduler": batch.address or None,
        "nthreads": group.nthreads,
        "memory_limit": group.memory_limit,
        "resources": group.resources,
        "local_directory": group.local_directory,
        "death_timeout": group.death_timeout,
        "join_timeout": batch.runtime.join_timeout,
        # workers' pages could be on loopback alone, where every user of the machine reads them
        "dashboard": batch.spec.dashboard and not batch.dashboard_prefix,
        "preload": list(group.preload),
        "worker_class": group.worker_class or None,
        "worker_options": group.worker_options,
    }
