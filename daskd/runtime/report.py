"""`report.json`: what a process of the runtime tells of itself without a link."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT_MAX_BYTES = 1024
PHASES = ("starting", "running", "failed", "ending")


@dataclass(frozen=True)
class Report:
    """The phase of a process, its Dask and dashboard addresses, what is wrong, in words, and where its link is.

    `link` is only a scheduler's that was placed, such as "tls://10.0.0.7:43210".
    """

    instance: str
    phase: str
    address: str | None = None
    dashboard: str | None = None
    failure: str | None = None
    link: str | None = None


def encode_report(report: Report, pid: int, now: float) -> bytes:
    """The report's JSON, at most 1 KiB: words that are too long are cut."""
    content: dict[str, Any] = {
        "version": 1,
        "instance": report.instance,
        "phase": report.phase,
        "address": report.address,
        "dashboard": report.dashboard,
        "failure": report.failure,
        "link": report.link,
        "pid": pid,
        "t": round(now, 3),
    }
    text = json.dumps(content).encode()
    while len(text) > REPORT_MAX_BYTES and content["failure"]:
        # JSON takes at most 12 bytes a character, so this never cuts too much.
        kept = len(content["failure"]) - 1 - (len(text) - REPORT_MAX_BYTES + 11) // 12
        content["failure"] = content["failure"][: max(kept, 0)]
        text = json.dumps({**content, "failure": content["failure"] + "\u2026"}).encode()
    return text


def write_report(directory: str | os.PathLike[str], report: Report) -> None:
    """Replace the instance's `report.json`, so that a reader sees the old or the new.

    Raises
    ------
    OSError
        If there is no room, or the directory is gone.
    """
    replace_file(Path(directory) / "report.json", encode_report(report, os.getpid(), time.time()))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole or not at all; raises OSError if it can't be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_report(path: str | os.PathLike[str]) -> Report | None:
    """Another instance's report; None while there is none.

    Raises
    ------
    ValueError
        If the file is no report.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(REPORT_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(text) > REPORT_MAX_BYTES:
        raise ValueError(f"{path} is larger than {REPORT_MAX_BYTES} bytes")
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("version") != 1 or content.get("phase") not in PHASES:
        raise ValueError(f"{path} is no report of version 1")
    words = [content.get(key) for key in ("address", "dashboard", "failure")]
    if not isinstance(content.get("instance"), str) or not all(w is None or isinstance(w, str) for w in words):
        raise ValueError(f"{path} is damaged")
    return Report(content["instance"], content["phase"], *words)


def scheduler_address(path: str | os.PathLike[str]) -> tuple[str | None, str]:
    """The address in a scheduler's report, or None and why there is none yet."""
    try:
        report = read_report(path)
    except (OSError, ValueError) as error:
        return None, f"the scheduler's report can't be read: {error}"
    if report is None:
        return None, "the scheduler has not reported yet"
    if report.phase == "failed":
        return None, f"the scheduler failed: {report.failure or 'its log says why'}"
    if report.address is None or report.phase != "running":
        return None, f"the scheduler is {report.phase} and has no address yet"
    return report.address, ""
