"""The commands of every double, by its dialect: ``main`` of the arguments DIALECT FOLDER COMMAND ARGUMENT..."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from . import double_lsf, double_moab, double_oar, double_pbs
from .double_client import Command

DIALECTS: Mapping[str, Mapping[str, Command]] = {
    "lsf": double_lsf.COMMANDS,
    "moab": double_moab.COMMANDS,
    "oar": double_oar.COMMANDS,
    "pbs": double_pbs.PBS,
    "torque": double_pbs.TORQUE,
}


def main() -> int:
    """Run one."""
    dialect, folder, command, *arguments = sys.argv[1:]
    return DIALECTS[dialect][command](Path(folder), arguments)
