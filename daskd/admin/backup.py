"""A state in one file: the database and the clusters' credentials. Logs and scratch files are not in it.

The file is a tar archive of mode 0600, since it holds keys.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daskd import __version__
from daskd.model.errors import InvalidArgument, StateUnusable
from daskd.store.database import copy_database, open_database
from daskd.store.directory import StateDirectory, sync_directory

from .state import DATABASE

MANIFEST = "daskd-backup.json"
FORMAT = 1
_CREDENTIALS = re.compile(r"credentials/c[a-z2-7]{1,40}\.json", re.ASCII)
_MOST_CREDENTIALS_BYTES = 1 << 20


def back_up(state: Path, target: Path) -> int:
    """Write a backup of a state, whether a daemon uses it or not; the file appears whole or not at all.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    InvalidArgument
        When there can't be a file at `target`.
    StateUnusable
        When the state can't be read.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            folder = Path(name)
            # The database first: a cluster made meanwhile is then in neither. One that ends meanwhile loses its
            # credentials, and after a restore ends again.
            copy_database(state / DATABASE, folder / DATABASE)
            whole = folder / "whole"
            _pack(state, folder / DATABASE, whole)
            size = whole.stat().st_size
            whole.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise InvalidArgument(
            f"no backup can be written to {target}: {error.strerror}. Name a file in a directory that you can write",
            facts={"path": str(target)},
        ) from error
    return size


def _pack(state: Path, database: Path, whole: Path) -> None:
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            manifest = database.with_name(MANIFEST)
            manifest.write_text(json.dumps({"format": FORMAT, "daskd": __version__, "time": time.time()}))
            archive.add(manifest, MANIFEST)
            archive.add(database, DATABASE)
            for path in sorted((state / "credentials").glob("*.json")):
                try:
                    archive.add(path, f"credentials/{path.name}")
                except FileNotFoundError:
                    continue  # its cluster has just ended
        file.flush()
        os.fsync(file.fileno())


def restore(source: Path, state: Path, machine_id: str) -> Path | None:
    """Put a backup in the place of a state that no daemon uses; made if it is missing.

    Nothing is changed before the backup was found to be whole.

    Returns
    -------
    Path or None
        Where the database that was there is now.

    Raises
    ------
    InvalidArgument
        When `source` is no backup.
    StateUnusable
        When a daemon uses the state, or the backup is damaged, of a newer daskd, or another machine's.
    """
    directory = StateDirectory.claim(state)
    try:
        with _unpacked(source, directory.path) as folder:
            database, _ = open_database(folder / DATABASE, machine_id)
            database.close()  # which writes what its log holds into it
            _put_credentials(folder / "credentials", directory.path / "credentials")
            aside = _put_aside(directory.database)
            (folder / DATABASE).replace(directory.database)
            sync_directory(directory.path)
            return aside
    except OSError as error:
        raise StateUnusable(
            f"the backup can't be restored to {state}: {error.strerror} ({error.filename}). Look for free space and "
            "the directory's owner; what was there is there still, or beside it as daskd.db.before-...",
            facts={"path": str(state)},
        ) from error
    finally:
        directory.release()


@contextmanager
def _unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """A backup's files, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=beside, prefix=".restore.") as name:
        folder = Path(name)
        (folder / "credentials").mkdir(mode=0o700)
        try:
            # never a stream: what is read twice must be a file
            with tarfile.open(source, mode="r:") as archive:
                _check_manifest(archive, source)
                for member in archive:
                    _extract(archive, member, folder, source)
        except tarfile.TarError as error:
            raise _no_backup(source, str(error)) from error
        except OSError as error:
            raise InvalidArgument(f"{source} can't be read: {error.strerror}") from error
        if not (folder / DATABASE).is_file():
            raise _no_backup(source, "it has no database")
        yield folder


def _check_manifest(archive: tarfile.TarFile, source: Path) -> None:
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == MANIFEST and first.isreg() else None
    try:
        manifest: Any = json.loads(file.read(4096)) if file else None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise _no_backup(source, f"it does not begin with {MANIFEST}")
    if manifest.get("format") != FORMAT:
        raise InvalidArgument(
            f"{source} is a backup of format {manifest.get('format')}, made by daskd {manifest.get('daskd')}, and this "
            f"daskd knows format {FORMAT}: restore it with that daskd"
        )


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, source: Path) -> None:
    """One file, by a name that we know: whatever else an archive holds could lead anywhere."""
    if member.name == MANIFEST:
        return
    of_cluster = _CREDENTIALS.fullmatch(member.name) is not None
    if not member.isreg() or not (of_cluster or member.name == DATABASE):
        raise _no_backup(source, f"{member.name!r} has no place in one")
    if of_cluster and member.size > _MOST_CREDENTIALS_BYTES:
        raise _no_backup(source, f"{member.name!r} is too large")
    content = archive.extractfile(member)
    assert content is not None
    descriptor = os.open(folder / member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _put_credentials(source: Path, target: Path) -> None:
    """Those that are missing; one that is there is what the cluster's processes have."""
    target.mkdir(mode=0o700, exist_ok=True)
    for path in source.iterdir():
        if not (target / path.name).exists():
            path.replace(target / path.name)
    sync_directory(target)


def _put_aside(database: Path) -> Path | None:
    """Move the database that is there, with its log, out of the way."""
    if database.stat().st_size == 0:
        return None
    aside = database.with_name(f"{database.name}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for suffix in ("-wal", "-shm", ""):
        file = database.with_name(database.name + suffix)
        if file.exists():
            file.replace(aside.with_name(aside.name + suffix))
    return aside


def _no_backup(source: Path, why: str) -> InvalidArgument:
    return InvalidArgument(f"{source} is no backup of daskd: {why}. Name a file that `daskd backup` wrote")
