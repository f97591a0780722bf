"""The SGE driver: what it understands, and its site."""

from __future__ import annotations

import os

from pydantic import Field

from daskd.model.spec import Path, Text

from .driver import BatchDriver
from .options import BatchSettings
from .sge import Sge, SgeOptions

_VARIABLES = ("SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_ARCH")


class SgeSettings(BatchSettings):
    """The administrator's `[drivers.sge]`."""

    root: Path = Field(default="", description="SGE's folder; by default SGE_ROOT of the daemon.")
    cell: Text = Field(default="", description="SGE's cell; by default SGE_CELL of the daemon, else SGE's own.")
    qmaster_port: int = Field(
        default=0, ge=0, le=65_535, description="The qmaster's port; by default SGE_QMASTER_PORT, else SGE's own."
    )


class SgeDriver(BatchDriver):
    """Workers as jobs of SGE, by any of its names: Son of, Open, Univa, Altair Grid Engine."""

    name = "sge"
    description = "Jobs of a Grid Engine (SGE) cluster"
    options = SgeOptions
    settings = SgeSettings
    system = Sge
    submits_with = "qsub"
    reserved = {
        name: mend
        for names, mend in (
            (("-N",), "set `job_name` instead"),
            (("-o", "-e", "-j", "-i", "-cwd", "-wd"), "set `log_directory` instead"),
            (("-t",), "the number of workers sets it"),
            (("-S",), "set `shebang` instead"),
            (("-sync", "-now", "-b", "-terse", "-verify", "-C", "-@", "-clear", "-help"), "leave it out"),
            (("-r", "-notify", "-ckpt", "-V", "-shell"), "leave it out"),
        )
        for name in names
    }

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where SGE is, and a zone for times that are printed without one."""
        assert isinstance(settings, SgeSettings)
        found = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
        port = str(settings.qmaster_port or "")
        said = {"SGE_ROOT": settings.root, "SGE_CELL": settings.cell, "SGE_QMASTER_PORT": port}
        return {**found, **{name: value for name, value in said.items() if value}, "TZ": "UTC"}
