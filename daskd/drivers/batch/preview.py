"""Pure: what would be submitted for a group, for people to read."""

from __future__ import annotations

import shlex

from daskd.drivers.protocol import Surroundings
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import Preview

from .options import BatchOptions, BatchSettings
from .roots import folder_of, root_of
from .script import body_without_secrets, path_of_body, submitted_text
from .system import System

CLUSTER = "<cluster>"
JOB = "<id>"
"""In the place of what is decided when a cluster, and when its jobs, are made."""


def preview_of(
    system: System,
    options: BatchOptions,
    spec: ClusterSpec,
    group: WorkerGroupSpec,
    who: Identity,
    surroundings: Surroundings,
    settings: BatchSettings,
) -> Preview:
    """Command and script of the first array; that of one job where the group has no workers yet."""
    root = root_of(options.log_directory or settings.log_directory, who.home)
    folder = folder_of(root, surroundings.state_id, system.name, CLUSTER)
    name = f"{options.job_name}-{JOB}" if options.job_name else JOB
    jobs = -(-group.n_workers // group.workers_per_node)
    body = body_without_secrets(spec, group, system.index_variable)
    script = submitted_text(system, options, group, body, folder, name)
    if not system.private_script:
        script += f"\n# {path_of_body(folder, name)}, which its user alone can read:\n{body}"
    command = system.submit(name, max(1, min(jobs, settings.array_max)), f"{folder}/jobs")
    return Preview(shlex.join(command), -(-jobs // settings.array_max), script)
