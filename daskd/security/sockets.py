"""Unix socket files: claimed without a moment at which a stranger's or a stale one is in the place."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from daskd.model.errors import StateUnusable

AUTH_SUFFIX = ".auth"
"""What the token exchange's socket is called, after the API's."""

_DRAFT_SUFFIX = ".new"
_LONGEST = 107 - len(AUTH_SUFFIX) - len(_DRAFT_SUFFIX)
_CONNECT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket that is bound under a draft's name and takes its place when it is ready.

    Renaming gives the place over at once: a stale file is replaced, and nobody meets a socket with the wrong mode.
    """

    path: Path

    @property
    def draft(self) -> Path:
        """Where to bind it."""
        return self.path.with_name(self.path.name + _DRAFT_SUFFIX)

    def check(self) -> None:
        """See that the place may be taken, and clear what an earlier start left of the draft. Blocks up to 2 s.

        Raises
        ------
        StateUnusable
            When the path is too long, its folder is missing, something that is no socket is there, or another daemon
            listens there.
        """
        if (length := len(os.fsencode(self.path))) > _LONGEST:
            raise _refused(
                self.path, f"is {length} bytes long, and a unix socket's may have {_LONGEST}: listen on a shorter one"
            )
        if not self.path.parent.is_dir():
            raise _refused(self.path, f"can't be listened on: create the folder {self.path.parent}")
        self.draft.unlink(missing_ok=True)
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise _refused(self.path, "is there and no socket: remove it, or listen elsewhere")
        if _is_live(self.path):
            raise _refused(self.path, "is taken: another daemon listens on it. Stop that one, or listen elsewhere")

    def publish(self, mode: int) -> Claim:
        """Give the bound draft its mode and its place."""
        os.chmod(self.draft, mode)
        found = self.draft.lstat()
        os.replace(self.draft, self.path)
        return Claim(self.path, found.st_dev, found.st_ino)


@dataclass(frozen=True, slots=True)
class Claim:
    """A socket file that is in its place, told from others by its inode."""

    path: Path
    device: int
    inode: int

    def release(self) -> None:
        """Remove the file, unless it is no longer ours."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) == (self.device, self.inode):
            self.path.unlink(missing_ok=True)


def socket_mode(daemon_uid: int) -> int:
    """Who may connect: root's daemon serves all users, who say who they are by SO_PEERCRED; another's, its own."""
    return 0o666 if daemon_uid == 0 else 0o600


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_TIMEOUT)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # a full queue, no permission: somebody has it open
            return True
        return True


def _refused(path: Path, words: str) -> StateUnusable:
    return StateUnusable(f"the socket {path} {words}", facts={"path": str(path)})
