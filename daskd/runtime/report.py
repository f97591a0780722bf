"""The runtime's report: a small file, replaced atomically, that says where it is and how it fares."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

_MAX_BYTES = 1024


def write_report(
    directory: Path,
    *,
    instance: str,
    phase: str,
    address: str | None = None,
    dashboard: str | None = None,
    failure: str | None = None,
) -> None:
    """Replace ``report.json`` in ``directory``, at most 1 KiB, mode 0600.

    Raises
    ------
    OSError
        The file can't be written.
    """
    report = {
        "version": 1,
        "instance": instance,
        "phase": phase,
        "address": address,
        "dashboard": dashboard,
        "failure": failure,
        "pid": os.getpid(),
        "t": time.time(),
    }
    data = json.dumps(report).encode()
    while failure and len(data) > _MAX_BYTES:
        failure = failure[: len(failure) // 2]
        data = json.dumps({**report, "failure": failure + "..."}).encode()
    replace_file(directory / "report.json", data)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole or not at all; raises OSError if it can't be written."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
