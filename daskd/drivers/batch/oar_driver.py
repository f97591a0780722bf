"""The OAR driver: what it understands, and its site."""

from __future__ import annotations

import os
import shlex

from pydantic import Field

from daskd.model.spec import Path

from .driver import BatchDriver
from .oar import Oar, OarOptions
from .options import BatchSettings


class OarSettings(BatchSettings):
    """The administrator's `[drivers.oar]`."""

    conf: Path = Field(default="", description="OAR's configuration file; by default OARCONFFILE, else OAR's own.")


class OarDriver(BatchDriver):
    """Workers as jobs of OAR."""

    name = "oar"
    description = "Jobs of an OAR cluster"
    options = OarOptions
    settings = OarSettings
    system = Oar
    submits_with = "oarsub"
    reserved = {
        name: mend
        for names, mend in (
            (("-n", "--name"), "set `job_name` instead"),
            (("-O", "-E", "--stdout", "--stderr"), "set `log_directory` instead"),
            (("--array", "--array-param-file"), "the number of workers sets it"),
            (("-S", "--scanscript", "-I", "--interactive", "-C", "--connect", "--resubmit"), "leave it out"),
            (("-r", "--reservation", "-d", "--directory", "-D", "--dumper", "-X", "--xml"), "leave it out"),
            (("-Y", "--yaml", "-J", "--json", "-h", "--help", "-V", "--version"), "leave it out"),
            (("-l", "--resource"), "set `resource_spec` and `walltime` instead"),
        )
        for name in names
    }

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where its configuration is, and the format in which oarstat names what it tells."""
        assert isinstance(settings, OarSettings)
        conf = settings.conf or os.environ.get("OARCONFFILE", "")
        return {"OAR_OARSTAT_OUTPUT_FORMAT": "1"} | ({"OARCONFFILE": conf} if conf else {})

    def _refused(self, line: str) -> str:
        try:
            parts = shlex.split(line)
        except ValueError as error:
            return f"{line!r:.100} can't be read as arguments: {error}"
        if parts[:1] in (["-t"], ["--type"]) and parts[1:2] == ["idempotent"]:
            return "idempotent jobs are submitted again by OAR, as others of the same name: daskd does that itself"
        return super()._refused(line)
