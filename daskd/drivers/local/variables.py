"""The variables of a runtime, from what is known of its user and of the request. Standard library alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def built(
    user: str, home: str, shell: str, python: str, given: Mapping[str, str], search: Sequence[str]
) -> dict[str, str]:
    """Login environment, then what was given, then what the runtime needs.

    Parameters
    ----------
    python
        The path of the interpreter, or its name.
    search
        Folders that come first on Python's search path.
    """
    environment = {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell,
        "LANG": "C.UTF-8",
        "PATH": f"{Path(python).parent}:{SYSTEM_PATH}",
        **given,
    }
    before = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    # setproctitle, where it is installed, would wipe the marks
    return environment | {
        "PYTHONPATH": ":".join([*search, *before]),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",
    }
