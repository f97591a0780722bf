"""`daskctl`, and `python -m daskctl` where dask-ctl's script of the same name comes first in PATH."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from .app import daskctl


def main() -> None:
    """Run the program; exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A log's line may hold what this terminal's encoding can't show; that is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    daskctl(prog_name="daskctl")


if __name__ == "__main__":
    main()
