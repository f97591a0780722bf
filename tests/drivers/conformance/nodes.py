"""Which process is an instance's node."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def node_of(processes: Mapping[int, str], instance: str) -> int | None:
    """The pid of its node; None while it does not run.

    What a node starts has its command line until it has become what it shall be: so of several it is the one that
    none of the others started.
    """
    mine = {pid for pid, line in processes.items() if "daskd_runtime node" in line and instance in line}
    first = [pid for pid in mine if _parent(pid) not in mine]
    return first[0] if first else None


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
