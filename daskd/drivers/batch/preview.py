"""Pure: what would be submitted for a group, for people to read."""

from __future__ import annotations

import shlex

from daskd.drivers.protocol import Surroundings
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import Preview

from .options import BatchOptions, BatchSettings
from .roots import folder_of, root_of
from .script import body_without_secrets, handed_over, jobs_folder
from .system import Handed, Jobs, System

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
    jobs = group.instances_for(group.n_workers)
    body = body_without_secrets(system, options, spec, group)
    ids = (JOB,) * max(1, min(jobs, settings.array_max))
    first = Jobs(name, ids, jobs_folder(folder), surroundings.grace)
    handed = handed_over(system, options, group, body, first)
    return Preview(shlex.join(handed.argv), -(-jobs // settings.array_max), shown(handed, first))


def shown(handed: Handed, jobs: Jobs) -> str:
    """What a system is handed, and with it the files that it reads beside."""
    files = [f"# {jobs.output}/{file}, which its user alone can read:\n{text}" for file, text in handed.files.items()]
    return "\n".join(part for part in (handed.stdin, *files) if part)
