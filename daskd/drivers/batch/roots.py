"""Which folders of its owner a cluster's jobs use: remembered, for who clears away is told of the cluster alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from daskd.drivers.local.files import read_document, write_private


def root_of(directory: str, home: str) -> str:
    """The folder that `log_directory` names, for a user with that home."""
    return f"{home}/{directory[2:]}" if directory.startswith("~/") else directory


def folder_of(root: str, state_id: str, system: str, cluster: str) -> str:
    """Where what one cluster's jobs need, and leave, lies below it."""
    return str(Path(root, state_id, system, "clusters", cluster))


class Roots:
    """A small file a cluster, in the daemon's own state. Blocks.

    Parameters
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, cluster: str) -> list[str]:
        """The folders that were remembered."""
        document = read_document(self._folder / f"{cluster}.json") or {}
        found = document.get("roots")
        return [root for root in found if isinstance(root, str)] if isinstance(found, list) else []

    def add(self, cluster: str, roots: Iterable[str]) -> None:
        """Remember these, too.

        Raises
        ------
        OSError
            When the disk refuses.
        """
        known = self.of(cluster)
        wanted = list(dict.fromkeys([*known, *roots]))
        if wanted != known:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._folder / f"{cluster}.json", json.dumps({"version": 1, "roots": wanted}).encode())

    def forget(self, cluster: str) -> None:
        """Nothing of it is left anywhere."""
        (self._folder / f"{cluster}.json").unlink(missing_ok=True)
        with suppress(OSError):  # others' are left
            self._folder.rmdir()
