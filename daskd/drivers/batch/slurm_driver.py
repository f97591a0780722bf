"""The Slurm driver: what it understands, and its site."""

from __future__ import annotations

import os

from pydantic import Field

from daskd.model.spec import Path

from .driver import BatchDriver
from .options import BatchOptions, BatchSettings
from .slurm import Slurm


class SlurmOptions(BatchOptions):
    """What a worker group may ask of Slurm."""


class SlurmSettings(BatchSettings):
    """The administrator's `[drivers.slurm]`."""

    conf: Path = Field(
        default="",
        description="Slurm's configuration file; by default SLURM_CONF of the daemon, else Slurm's own.",
    )


class SlurmDriver(BatchDriver):
    """Workers as jobs of Slurm."""

    name = "slurm"
    description = "Jobs of a Slurm cluster"
    options = SlurmOptions
    settings = SlurmSettings
    system = Slurm
    submits_with = "sbatch"
    reserved = {
        name: mend
        for names, mend in (
            (("--job-name", "-J"), "set `job_name` instead"),
            (("--output", "-o", "--error", "-e"), "set `log_directory` instead"),
            (("--array", "-a"), "the number of workers sets it"),
            (("--wait", "-W", "--test-only", "--wrap", "--parsable", "--quiet", "-Q"), "leave it out"),
            (("--requeue", "--no-requeue", "--export", "--export-file", "--chdir", "-D"), "leave it out"),
            (("--uid", "--gid", "--get-user-env", "--ntasks", "-n"), "leave it out"),
            (("--nodes", "-N", "--ntasks-per-node"), "set `nodes_per_job` instead"),
        )
        for name in names
    }

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where Slurm's configuration is."""
        assert isinstance(settings, SlurmSettings)
        conf = settings.conf or os.environ.get("SLURM_CONF", "")
        return {"SLURM_CONF": conf} if conf else {}

    def _name_of(self, argument: str) -> str:
        # of a short one the value may follow at once
        name = super()._name_of(argument)
        return name if name.startswith("--") or name in self.reserved else name[:2]
