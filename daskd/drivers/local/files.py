"""The folder of a cluster on this machine; `docs/runtime.md` says what lies where."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 1024
"""No file that a runtime writes for us is read further than this."""


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def read_document(path: Path) -> dict[str, Any] | None:
    """A JSON object that a runtime wrote; None when there is none, or it is something else.

    It is opened without following a link and read to a bound: what the runtime can write, users' code can write.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            found = json.loads(file.read(MOST_BYTES))
            # half a surrogate pair is valid JSON, but no text that a database or a message can hold
            document = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError, OSError):
            return None
    return document if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """Where the files of one cluster lie."""

    folder: Path

    @property
    def runtime(self) -> Path:
        """What PYTHONPATH names: the folder that holds the package `daskd_runtime`."""
        return self.folder / "runtime"

    @property
    def supervisor(self) -> Path:
        """The supervisor's program."""
        return self.runtime / "daskd_runtime" / "supervisor.py"

    @property
    def zygote_log(self) -> Path:
        """What the zygote says when it can't serve."""
        return self.folder / "zygote.log"

    @property
    def tls(self) -> Path:
        """Certificates and keys."""
        return self.folder / "tls"

    @property
    def scheduler_tls(self) -> Path:
        """Those of a scheduler that runs as a job, where nodes' jobs write theirs into `tls` as a whole."""
        return self.folder / "scheduler-tls"

    @property
    def scratch(self) -> Path:
        """Workers' local directories."""
        return self.folder / "scratch"

    @property
    def journal(self) -> Path:
        """What schedulers write of their work, each for the next."""
        return self.folder / "journal"

    def instance(self, instance: str) -> Path:
        """The folder of one instance."""
        return self.folder / "instances" / instance

    def stage(self, secret: dict[str, bytes]) -> None:
        """Copy the runtime, write keys and certificates. A repeat does nothing."""
        self.furnish(secret)
        if not self.runtime.exists():
            unfinished = self.folder / f".runtime.{os.getpid()}"
            shutil.rmtree(unfinished, ignore_errors=True)
            # found, not imported: the daemon never loads what speaks Dask
            with resources.as_file(resources.files("daskd") / "runtime") as source:
                shutil.copytree(source, unfinished / "daskd_runtime", ignore=shutil.ignore_patterns("__pycache__"))
            unfinished.rename(self.runtime)

    def furnish(self, secret: dict[str, bytes]) -> None:
        """Make the folders, write keys and certificates. A repeat does nothing."""
        for folder in (self.folder, self.folder / "instances", self.tls, self.scratch):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in secret.items():
            if not (self.tls / name).exists():
                write_private(self.tls / name, data)

    def unstage(self) -> None:
        """Remove keys, scratch files, the journal and code; logs and end records stay."""
        for folder in (self.tls, self.scheduler_tls, self.scratch, self.journal, self.runtime):
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self) -> None:
        """Remove all."""
        shutil.rmtree(self.folder, ignore_errors=True)
