"""Finds the state that an administrator means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskd import places
from daskd.config import Config
from daskd.model.errors import StateUnusable

SYSTEM_STATE = Path("/var/lib/daskd")
"""Where the system's unit has its state (`StateDirectory=daskd`)."""
DATABASE = "daskd.db"


def state_dirs(config: Config, given: Path | None, environ: Mapping[str, str], uid: int) -> list[Path]:
    """Where a daemon of this user may have its state, the likeliest first.

    Parameters
    ----------
    given
        What the command line says; it or the configuration's is the only one then.

    Raises
    ------
    InvalidConfig
        When this machine has no id.
    """
    if fixed := given or config.daemon.state_dir:
        return [fixed]
    machine = places.machine_id()
    found = [places.state_dir(environ, machine)]
    if uid == 0:
        # systemd tells its unit, and not root's shell, where that is
        found.insert(0, SYSTEM_STATE / machine)
    return found


def existing_state(candidates: list[Path]) -> Path:
    """The first of these that holds a state.

    Raises
    ------
    StateUnusable
        When none does.
    """
    for candidate in candidates:
        if (candidate / DATABASE).is_file():
            return candidate
    looked = ", ".join(map(str, candidates))
    raise StateUnusable(f"there is no state of a daemon in {looked}: name its directory with --state-dir")
