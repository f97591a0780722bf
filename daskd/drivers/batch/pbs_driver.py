"""The drivers of PBS and of Torque: what they understand, and their sites."""

from __future__ import annotations

import os

from pydantic import Field

from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.spec import Path, Text, WorkerGroupSpec

from .driver import BatchDriver
from .options import BatchSettings
from .pbs import Pbs, PbsOptions, Torque

_VARIABLES = ("PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "PBS_DEFAULT")


class PbsSettings(BatchSettings):
    """The administrator's `[drivers.pbs]`, `[drivers.torque]`."""

    server: Text = Field(default="", description="The server's host; by default PBS_DEFAULT of the daemon, else PBS'.")
    conf: Path = Field(default="", description="PBS' configuration file; by default PBS_CONF_FILE, else PBS' own.")


class PbsDriver(BatchDriver):
    """Workers as jobs of OpenPBS or PBS Professional."""

    name = "pbs"
    description = "Jobs of a PBS cluster (OpenPBS, PBS Professional)"
    options = PbsOptions
    settings = PbsSettings
    system = Pbs
    submits_with = "qsub"
    reserved = {
        name: mend
        for names, mend in (
            (("-N",), "leave it out"),
            (("-o", "-e", "-j", "-k", "-R"), "set `log_directory` instead"),
            (("-J", "-t"), "the number of workers sets it"),
            (("-S",), "set `shebang` instead"),
            (("-I", "-X", "-f", "-r", "-V", "-z", "-C", "-G", "-x", "--version", "--"), "leave it out"),
        )
        for name in names
    }

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where the server is."""
        assert isinstance(settings, PbsSettings)
        found = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
        said = {"PBS_DEFAULT": settings.server, "PBS_SERVER": settings.server, "PBS_CONF_FILE": settings.conf}
        return {**found, **{name: value for name, value in said.items() if value}}


class TorqueDriver(PbsDriver):
    """Workers as jobs of Torque."""

    name = "torque"
    description = "Jobs of a Torque cluster"
    system = Torque

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """What the options' own rules don't see."""
        problems = super().validate(group, who)
        if group.options.get("reservation") is not None:
            words = "Torque has none of its own: name it by your scheduler's argument in `job_extra_directives`"
            problems.append(Problem("options.reservation", words))
        return problems
