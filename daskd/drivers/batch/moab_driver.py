"""The Moab driver: what it understands, and its site."""

from __future__ import annotations

import os

from pydantic import Field

from daskd.model.spec import Path

from .driver import BatchDriver
from .moab import Moab, MoabOptions
from .options import BatchSettings
from .pbs_driver import PbsDriver


class MoabSettings(BatchSettings):
    """The administrator's `[drivers.moab]`."""

    home: Path = Field(default="", description="Moab's folder; by default MOABHOMEDIR of the daemon, else Moab's own.")
    array_max: int = Field(default=1, ge=1, le=1, description="Jobs are submitted one by one.")


class MoabDriver(BatchDriver):
    """Workers as jobs of Moab, which runs them under Torque."""

    name = "moab"
    description = "Jobs of a Moab cluster, under Torque"
    options = MoabOptions
    settings = MoabSettings
    system = Moab
    submits_with = "msub"
    reserved = PbsDriver.reserved

    def variables(self, settings: BatchSettings) -> dict[str, str]:
        """Where Moab is."""
        assert isinstance(settings, MoabSettings)
        home = settings.home or os.environ.get("MOABHOMEDIR", "")
        return {"MOABHOMEDIR": home} if home else {}
