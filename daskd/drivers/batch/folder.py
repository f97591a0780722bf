"""What the owner does with files: make the folders that jobs need, read what they left, remove it.

A daemon that is root never opens a path that an owner can change: it sends this file, with those of the local driver
that it imports, to a Python that runs as the owner (`files.py`). Standard library alone. Answers are plain data.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..local import logs
from ..local.files import ClusterFiles, read_document, write_private

MOST_LOG_CHUNKS = 4
_BLOCK = 256 * 1024


class Refusal(Exception):
    """The folder can't be used; the text says why and what to do."""


def make(request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a cluster's folder, which its owner alone can enter.

    Raises
    ------
    Refusal
        When it can't be made, or others could write above it.
    """
    root, files = Path(request["root"]), ClusterFiles(Path(request["folder"]))
    mend = "name another by the option `log_directory`"
    try:
        (files.folder / "instances").mkdir(mode=0o700, parents=True, exist_ok=True)
        (files.folder / "jobs").mkdir(mode=0o700, exist_ok=True)
        for folder in (root, files.folder):
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise Refusal(f"{folder} is not a folder that its user alone can write: {mend}")
        files.folder.chmod(0o700)
    except OSError as error:
        raise Refusal(f"{files.folder} can't be made: {error.strerror}: {mend}") from error
    return {}


def put(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a file that its owner alone can read, whole or not at all."""
    write_private(Path(request["path"]), request["text"].encode())
    return {}


def ranks_of(folder: Path, instance: str, nodes: int) -> list[Path]:
    """The folders of an instance's nodes: the first has the instance's name, the others their place behind it."""
    return [folder / "instances" / (f"{instance}.{rank}" if rank else instance) for rank in range(nodes)]


def records(request: Mapping[str, Any]) -> dict[str, Any]:
    """What instances left of themselves: by id `end`, `last_end`, `report` and `goodbye`, None where there is none.

    Of several nodes the one that ended last tells how; it is the instance's `end` if all of them have ended.
    """
    return {
        name: _record(ranks_of(Path(folder), name, nodes)) for name, (folder, nodes) in request["instances"].items()
    }


def _record(ranks: Sequence[Path]) -> dict[str, Any]:
    ends = [(end, rank) for rank in ranks if (end := read_document(rank / "end.json")) is not None]
    last, told_by = max(ends, key=lambda each: _when(each[0]), default=(None, ranks[0]))
    is_over = len(ends) == len(ranks)
    others = {name: read_document(told_by / f"{name}.json") for name in ("report", "goodbye")}
    return {"end": last if is_over else None, "last_end": last, **others}


def _when(end: Mapping[str, Any]) -> float:
    ended = end.get("ended")
    return float(ended) if isinstance(ended, (int, float)) else 0.0


def read_log(request: Mapping[str, Any]) -> dict[str, Any]:
    """What was logged after the cursor: first what the job printed before its supervisors, then the logs of its nodes.

    Lines of all nodes but the first begin with their place in the job.
    """
    folder = Path(request["folder"])
    ranks = ranks_of(folder, request["id"], request["nodes"])
    printed, *cursors = str(request["cursor"]).split("|")
    offset = int(printed) if printed.isdigit() else 0
    cursors = [*cursors, *[""] * len(ranks)][: len(ranks)]
    chunks: list[Any] = []
    lines, offset = _printed(folder / "jobs" / request["output"], offset)
    if lines:
        chunks.append([lines, "|".join([str(offset), *cursors])])
    for rank, place in enumerate(ranks):
        mark = f"[node {rank}] " if rank else ""
        found = logs.read(place, cursors[rank])
        for _, (logged, after) in zip(range(MOST_LOG_CHUNKS), found):  # noqa: B905 - bounded by the first
            cursors[rank] = after
            chunks.append([[(when, mark + line) for when, line in logged], "|".join([str(offset), *cursors])])
    return {"chunks": chunks}


def _printed(path: Path, offset: int) -> tuple[list[tuple[float, str]], int]:
    """Whole lines of a plain file after an offset, all at the time of its last change, and the offset after them."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return [], offset
    with os.fdopen(descriptor, "rb") as file:
        when = os.fstat(descriptor).st_mtime
        file.seek(offset)
        block = file.read(_BLOCK)
    whole = block[: block.rfind(b"\n") + 1] or (block if len(block) == _BLOCK else b"")
    return [(when, line.decode("utf-8", "replace")) for line in whole.splitlines()], offset + len(whole)


def unstage(request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a cluster's keys and code, with the scripts that carry them; logs and end records stay."""
    files = ClusterFiles(Path(request["folder"]))
    files.unstage()
    for script in files.folder.glob("jobs/*.sh"):
        script.unlink(missing_ok=True)
    for folder in files.folder.glob("instances/*"):
        for name in ("spec.json", "launch.json"):  # they hold the request's environment
            (folder / name).unlink(missing_ok=True)
    return {}


def forget(request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all that is left of a cluster, and what its removal leaves empty."""
    folder = Path(request["folder"])
    ClusterFiles(folder).forget()
    with suppress(OSError):  # not empty: another cluster's, another daemon's
        for above in list(folder.parents)[: len(folder.parents) - len(Path(request["root"]).parents)]:
            above.rmdir()
    return {}


VERBS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "make": make,
    "put": put,
    "records": records,
    "read_log": read_log,
    "unstage": unstage,
    "forget": forget,
}


def main(request: Mapping[str, Any]) -> None:
    """Answer one request on standard output."""
    os.umask(0o077)
    try:
        answer: dict[str, Any] = {"answer": VERBS[request["verb"]](request)}
    except Refusal as refusal:
        answer = {"refused": str(refusal)}
    # JSON can hold halves of characters, which nothing else takes
    text = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
