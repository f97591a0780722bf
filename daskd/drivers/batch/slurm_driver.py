"""The Slurm driver: what it understands, and its site."""

from __future__ import annotations

import os
import re

from pydantic import Field

from daskd.drivers.protocol import Site, Surroundings
from daskd.model.cluster import Handle
from daskd.model.errors import NotAllowed, Problem
from daskd.model.identity import Identity
from daskd.model.spec import Path, WorkerGroupSpec

from .options import BatchOptions, BatchSettings
from .runner import Runner
from .site import BatchSite
from .slurm import Slurm

_OURS = {
    name: f"{name} is daskd's own: {mend}"
    for names, mend in (
        (("--job-name", "-J"), "set `job_name` instead"),
        (("--output", "-o", "--error", "-e"), "set `log_directory` instead"),
        (("--array", "-a"), "the number of workers sets it"),
        (("--wait", "-W", "--test-only", "--wrap", "--parsable", "--quiet", "-Q"), "leave it out"),
        (("--requeue", "--no-requeue", "--export", "--export-file", "--chdir", "-D"), "leave it out"),
        (("--uid", "--gid", "--get-user-env", "--ntasks", "-n"), "leave it out"),
        (("--nodes", "-N"), "a job is one node"),
    )
    for name in names
}


class SlurmOptions(BatchOptions):
    """What a worker group may ask of Slurm."""


class SlurmSettings(BatchSettings):
    """The administrator's `[drivers.slurm]`."""

    conf: Path = Field(
        default="",
        description="Slurm's configuration file; by default SLURM_CONF of the daemon, else Slurm's own.",
    )


class SlurmDriver:
    """Workers as jobs of Slurm."""

    name = "slurm"
    description = "Jobs of a Slurm cluster"
    options = SlurmOptions
    settings = SlurmSettings
    elsewhere = True

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """What the options' own rules don't see."""
        options = self.options.model_validate(group.options)
        problems = [
            Problem("options.job_extra_directives", words)
            for line in options.job_extra_directives
            if (words := _refused(line))
        ]
        return [*problems, *_too_small(group, options)]

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """ "auto" memory is a share of what the job was granted, where that was said; else the node decides."""
        options = self.options.model_validate(group.options)
        if group.memory_limit != "auto" or options.memory is None:
            return group
        return group.model_copy(update={"memory_limit": options.memory // group.workers_per_node})

    def upgrade(self, handle: Handle) -> Handle:
        """Version 1 is the only one yet."""
        return handle

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """Slurm as that user uses it.

        Raises
        ------
        NotAllowed
            When the daemon is not root and the user another one.
        """
        if who.uid != os.geteuid() and os.geteuid() != 0:
            raise NotAllowed(
                f"this daemon runs as uid {os.geteuid()} and can submit nothing as {who.name}: only root's can",
                facts={"user": who.name},
            )
        settings = surroundings.settings if isinstance(surroundings.settings, SlurmSettings) else SlurmSettings()
        conf = settings.conf or os.environ.get("SLURM_CONF", "")
        variables = {"SLURM_CONF": conf} if conf else {}
        runner = Runner(who, settings.bin, variables, settings.per_minute)
        return BatchSite(Slurm(), self.options, who, surroundings, settings, runner)


def _refused(line: str) -> str:
    if not line.startswith("-"):
        return f'{line!r:.100} is no argument of sbatch: it begins with a dash, such as "--exclusive"'
    name = re.split(r"[=\s]", line, maxsplit=1)[0]
    # of a short one the value may follow at once
    return _OURS.get(name, "") or ("" if name.startswith("--") else _OURS.get(name[:2], ""))


def _too_small(group: WorkerGroupSpec, options: BatchOptions) -> list[Problem]:
    threads = group.nthreads * group.workers_per_node
    problems = []
    if options.cores is not None and options.cores < threads:
        words = f"{options.cores} cores are fewer than the {threads} threads of a job's workers: ask for that many"
        problems.append(Problem("options.cores", words))
    limits = 0 if group.memory_limit == "auto" else group.memory_limit * group.workers_per_node
    if options.memory is not None and options.memory < limits:
        words = "a job's workers have higher limits together: ask for as much, or lower `memory_limit`"
        problems.append(Problem("options.memory", words))
    return problems
