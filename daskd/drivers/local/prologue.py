"""The shell that runs before an instance: its owner's lines, then the Python. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

FILE = "prologue.sh"
SHELL = "/bin/bash"


def script(lines: Sequence[str], argv: Sequence[str], variables: Mapping[str, str], runtime: str) -> str:
    """A bash script that runs the lines as a job script's, then becomes the program, with what they exported.

    /etc/profile goes before them, for it makes `module` known where a site has it; what it says of the instance's own
    variables does not count. A line that fails stops nothing, unless a line says `set -e`.

    Parameters
    ----------
    argv
        The program; its name is looked up when the lines have run.
    variables
        The instance's environment.
    runtime
        The folder that must be on PYTHONPATH, whatever the lines make of that.
    """
    own = (f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items()))
    folder = shlex.quote(runtime)
    return "\n".join(
        (
            "[ -r /etc/profile ] && . /etc/profile",
            *own,
            *lines,
            f'export PYTHONPATH={folder}"${{PYTHONPATH:+:$PYTHONPATH}}"',
            f"exec {shlex.join(argv)}",
            "",
        )
    )
