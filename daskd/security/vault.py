"""Where clusters' credentials lie: files of mode 0600 in a folder that only the daemon can enter."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

from .certificates import Credentials, issue


class Vault:
    """The credentials of all clusters.

    Parameters
    ----------
    folder
        Made with mode 0700 if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def credentials(self, uid: str) -> Credentials:
        """The cluster's credentials, made on the first call."""
        return await asyncio.to_thread(self._load_or_issue, uid)

    async def forget(self, uid: str) -> None:
        """Remove them: the cluster has ended."""
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, self._path(uid))

    async def kept(self) -> list[str]:
        """The clusters whose credentials are here."""
        return await asyncio.to_thread(lambda: sorted(path.stem for path in self._folder.glob("*.json")))

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.json"

    def _load_or_issue(self, uid: str) -> Credentials:
        path = self._path(uid)
        if path.exists():
            document = json.loads(path.read_bytes())
            return Credentials(document["ca"], document["certificates"], document["keys"])
        made = issue(uid)
        text = json.dumps({"version": 1, "ca": made.ca, "certificates": made.certificates, "keys": made.keys})
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return made
