"""The commands of `daskd` other than `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from daskd import places
from daskd.config import load_config

from . import doctor
from .backup import back_up, restore
from .state import existing_state, state_dirs


def run(arguments: argparse.Namespace) -> int:
    """Run a command; answers with the exit code.

    Raises
    ------
    DaskdError
        When it can't be done; the words say why.
    """
    if arguments.command == "check-config":
        config = load_config(arguments.config)
        _say(f"{config.file or 'no configuration file; defaults'}: good")
        return 0
    if arguments.command == "doctor":
        findings = doctor.examine(arguments.config, arguments.state_dir)
        for finding in findings:
            _say(finding.line())
        return 1 if any(finding.level is doctor.Level.FAIL for finding in findings) else 0
    candidates = state_dirs(load_config(arguments.config), arguments.state_dir, os.environ, os.geteuid())
    target = Path.cwd() / arguments.file
    if arguments.command == "backup":
        state = existing_state(candidates)
        size = back_up(state, target)
        _say(f"{state}: written to {target}, {size} bytes. It holds keys: keep it where only administrators read")
        return 0
    # where there is none yet, a daemon of this user would make the last
    state = next((path for path in candidates if path.exists()), candidates[-1])
    aside = restore(target, state, places.machine_id())
    kept = f"; what was there is {aside.name} beside it" if aside else ""
    _say(f"{state}: restored{kept}. Clusters made after the backup are unknown now, and ended soon after the start")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
