"""The LSF driver: what it understands, and its site."""

from __future__ import annotations

import os

from pydantic import Field

from daskd.model.spec import Path

from .driver import BatchDriver
from .lsf import Lsf, LsfOptions
from .options import BatchSettings

_VARIABLES = ("LSF_ENVDIR", "LSF_SERVERDIR", "LSF_LIBDIR", "LSF_BINDIR", "LSF_VERSION")


class LsfSettings(BatchSettings):
    """The administrator's `[drivers.lsf]`."""

    envdir: Path = Field(default="", description="The folder of lsf.conf; by default LSF_ENVDIR of the daemon.")


class LsfDriver(BatchDriver):
    """Workers as jobs of LSF."""

    name = "lsf"
    description = "Jobs of an LSF cluster (IBM Spectrum LSF)"
    options = LsfOptions
    settings = LsfSettings
    system = Lsf
    submits_with = "bsub"
    reserved = {
        name: mend
        for names, mend in (
            (("-J",), "set `job_name` instead, and the number of workers"),
            (("-o", "-oo", "-e", "-eo", "-i", "-is", "-outdir", "-cwd"), "set `log_directory` instead"),
            (("-L",), "set `shebang` instead"),
            (("-r", "-rn", "-Q", "-k", "-K", "-I", "-Ip", "-Is", "-IS", "-ISp", "-ISs", "-IX"), "leave it out"),
            (("-pack", "-jsdl", "-jsdl_strict", "-Zs", "-env", "-h", "-V", "-f", "-t"), "leave it out"),
        )
        for name in names
    }

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where LSF is, as its profile says."""
        assert isinstance(settings, LsfSettings)
        found = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
        return found | ({"LSF_ENVDIR": settings.envdir} if settings.envdir else {})
