"""The state directory: ours alone, on a local disk, and of one daemon at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from daskd.model.errors import StateUnusable

from .mounts import refuse_network


class StateDirectory:
    """A state directory that this process holds until `release`; made by `claim`.

    Attributes
    ----------
    path
        Absolute.
    database
        The database's file; of mode 0600.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / "daskd.db"
        self._lock: int | None = lock

    @classmethod
    def claim(cls, path: Path) -> StateDirectory:
        """Make the directory if it is missing, check it, and lock it.

        Raises
        ------
        StateUnusable
            When it is another user's, writable for others, a link, on a network file system, can't be made, or is
            another daemon's just now.
        """
        path = Path(os.path.abspath(path))
        refuse_network(path)
        try:
            _make(path)
            check_directory(path)
            lock = _lock(path / "lock", path)
        except OSError as error:
            raise StateUnusable(
                f"the state directory {path} can't be used: {error.strerror} ({error.filename}). Give daskd's user a "
                "directory of its own, or name another with --state-dir",
                facts={"path": str(path)},
            ) from error
        directory = cls(path, lock)
        try:
            _own_file(directory.database)
        except OSError as error:
            directory.release()
            raise StateUnusable(
                f"the database {directory.database} can't be used: {error.strerror}. It must be a plain file of "
                "daskd's user",
                facts={"path": str(directory.database)},
            ) from error
        return directory

    def release(self) -> None:
        """Let another daemon have it. Again: does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk, as fsync has a file's content.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
        sync_directory(place.parent)


def check_directory(path: Path) -> None:
    """Refuse a directory in which somebody else could lay files for us to open.

    Raises
    ------
    StateUnusable
        When it is another user's, writable for others, a link, or none.
    OSError
        When it can't be looked at.
    """
    found = os.lstat(path)
    wrong = ""
    if stat.S_ISLNK(found.st_mode):
        wrong = "is a symbolic link: name what it points to"
    elif not stat.S_ISDIR(found.st_mode):
        wrong = "is no directory: name another with --state-dir"
    elif found.st_uid != os.geteuid():
        wrong = f"belongs to uid {found.st_uid}, and daskd runs as {os.geteuid()}: name one of its own with --state-dir"
    elif found.st_mode & 0o022:
        wrong = f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o}): run `chmod 700 {path}`"
    if wrong:
        raise StateUnusable(f"the state directory {path} {wrong}", facts={"path": str(path)})


def _own_file(path: Path) -> None:
    """Make the file, or take rights from others on it. SQLite would make it readable for all that umask allows."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _lock(path: Path, directory: Path) -> int:
    """The descriptor of the lock file, locked. The file stays for ever: to unlink it would let two hold "the" lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StateUnusable(
            f"the state directory {directory} is in use by another daskd (process {holder}): stop that one, or name "
            "another directory with --state-dir",
            facts={"path": str(directory), "pid": holder},
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
