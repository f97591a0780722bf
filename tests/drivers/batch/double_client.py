"""What the commands of all doubles have in common. Standard library alone; no code of daskd."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Command = Callable[[Path, list[str]], int]
"""What it prints has the form of the system's own; its answer is the exit code."""


def ask(folder: Path, **request: Any) -> Any:
    """What the server answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "socket"))
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        return json.loads(b"".join(iter(lambda: connection.recv(65_536), b"")))


def value_of(arguments: Sequence[str], name: str) -> str:
    """What stands after an option; empty without it."""
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def header_of(script: str, mark: str) -> list[str]:
    """The options in a script's header, in words."""
    return " ".join(re.findall(rf"^#{mark} (.*)$", script, re.MULTILINE)).split()


def seconds(clock: str) -> float:
    """Of "HH:MM:SS" or "HH:MM"; nothing is 0."""
    if not clock:
        return 0.0
    hours, minutes, *rest = map(int, clock.split(":"))
    return 3600.0 * hours + 60 * minutes + sum(rest)


def exit_code(status: int) -> int:
    """The exit code of what wait() told, or minus the signal's number."""
    return os.waitstatus_to_exitcode(status)
