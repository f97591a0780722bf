"""`daskd backup` and `daskd restore`."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskd.admin.backup import MANIFEST, back_up, restore
from daskd.admin.state import existing_state, state_dirs
from daskd.config import Config
from daskd.model.errors import InvalidArgument, StateUnusable
from daskd.store import SqliteStore

from ..daemon_process import DaemonProcess

MACHINE = "0" * 32
KEYS = "credentials/cabc.json"


def clock() -> float:
    """A time that does not pass."""
    return 1.0


async def make_state(folder: Path) -> str:
    """A state with credentials; answers with its id."""
    store = await SqliteStore.open(folder, machine_id=MACHINE, clock=clock)
    await store.close()
    (folder / "credentials").mkdir(mode=0o700)
    (folder / KEYS).write_text("keys")
    return store.state_id


async def state_id(folder: Path) -> str:
    """Which state lies there."""
    store = await SqliteStore.open(folder, machine_id=MACHINE, clock=clock)
    await store.close()
    return store.state_id


async def test_what_was_backed_up_is_restored(tmp_path: Path) -> None:
    """Database and credentials come back to a machine that lost both."""
    made = await make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "backup")
    assert restore(tmp_path / "backup", tmp_path / "new", MACHINE) is None
    assert (tmp_path / "new" / KEYS).read_text() == "keys"
    assert await state_id(tmp_path / "new") == made


async def test_a_backup_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds keys: nobody else can read it, or what is restored of it."""
    await make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new", MACHINE)
    for path in (tmp_path / "backup", tmp_path / "new" / "daskd.db", tmp_path / "new" / KEYS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_state_that_was_there_is_kept_aside(tmp_path: Path) -> None:
    """A restore of the wrong backup can be undone; credentials that are there are in use, and stay."""
    await make_state(tmp_path / "one")
    back_up(tmp_path / "one", tmp_path / "backup")
    other = await make_state(tmp_path / "two")
    (tmp_path / "two" / KEYS).write_text("in use")
    aside = restore(tmp_path / "backup", tmp_path / "two", MACHINE)
    assert aside is not None
    assert (tmp_path / "two" / KEYS).read_text() == "in use"
    (tmp_path / "undone").mkdir(mode=0o700)
    aside.rename(tmp_path / "undone" / "daskd.db")
    assert await state_id(tmp_path / "undone") == other


async def test_a_state_in_use_is_not_restored_over(tmp_path: Path) -> None:
    """The daemon that holds it is named, and nothing is changed."""
    await make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "backup")
    store = await SqliteStore.open(tmp_path / "state", machine_id=MACHINE, clock=clock)
    try:
        with pytest.raises(StateUnusable, match=f"process {os.getpid()}"):
            restore(tmp_path / "backup", tmp_path / "state", MACHINE)
    finally:
        await store.close()


async def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    """One with a broken database is refused before the old one is touched."""
    made = await make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "backup")
    data = bytearray((tmp_path / "backup").read_bytes())
    start = data.index(b"SQLite format 3")
    data[start : start + 64] = b"\0" * 64
    (tmp_path / "backup").write_bytes(data)
    with pytest.raises(StateUnusable):
        restore(tmp_path / "backup", tmp_path / "state", MACHINE)
    assert await state_id(tmp_path / "state") == made


async def test_another_machines_backup_is_refused(tmp_path: Path) -> None:
    """Its processes can't be seen from here."""
    await make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "backup")
    with pytest.raises(StateUnusable, match="another machine"):
        restore(tmp_path / "backup", tmp_path / "new", "1" * 32)


def archive(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    """A tar archive of these files."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), tarfile.REGTYPE if name == MANIFEST else kind
            info.linkname = "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return path


GOOD = {MANIFEST: b'{"format": 1}'}


@pytest.mark.parametrize(
    ("members", "kind", "words"),
    [
        ({"daskd.db": b""}, tarfile.REGTYPE, "does not begin with"),
        ({MANIFEST: b"[]"}, tarfile.REGTYPE, "does not begin with"),
        ({MANIFEST: b'{"format": 2, "daskd": "9.9"}'}, tarfile.REGTYPE, "daskd 9.9"),
        (GOOD, tarfile.REGTYPE, "no database"),
        (GOOD | {"../evil": b"x"}, tarfile.REGTYPE, "no place"),
        (GOOD | {"credentials/../../evil.json": b"x"}, tarfile.REGTYPE, "no place"),
        (GOOD | {"daskd.db": b""}, tarfile.SYMTYPE, "no place"),
    ],
)
def test_what_is_no_backup_is_refused(tmp_path: Path, members: dict[str, bytes], kind: bytes, words: str) -> None:
    """An archive of something else, or one that would write elsewhere, is told apart in words."""
    with pytest.raises(InvalidArgument, match=words):
        restore(archive(tmp_path / "tar", members, kind), tmp_path / "state", MACHINE)
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Not by a traceback."""
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidArgument, match="no backup of daskd"):
        restore(tmp_path / "text", tmp_path / "state", MACHINE)


def test_a_state_is_looked_for_where_daemons_have_it(tmp_path: Path) -> None:
    """Root finds the system unit's without being told; what is given is the only one; none is an error."""
    assert state_dirs(Config(), tmp_path, {}, 0) == [tmp_path]
    assert [str(path)[:14] for path in state_dirs(Config(), None, {"HOME": "/h"}, 0)] == [
        "/var/lib/daskd",
        "/h/.local/stat",
    ]
    with pytest.raises(StateUnusable, match="--state-dir"):
        existing_state([tmp_path])


def daskd(*argv: str, daemon: DaemonProcess) -> subprocess.CompletedProcess[str]:
    """Run `daskd` on that daemon's state."""
    command = [sys.executable, "-m", "daskd", *argv]
    where = ["--config", str(daemon.config), "--state-dir", str(daemon.state_dir)]
    return subprocess.run([*command, *where], capture_output=True, text=True, timeout=120, check=False)


def test_a_running_daemon_is_backed_up_and_put_back(daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """The cluster that runs on is the restored daemon's, and it reaches it with the credentials it had."""
    daskctl("create", "etl", "-n", "1")
    backup = str(daemon.folder / "backup")
    done = daskd("backup", backup, daemon=daemon)
    assert done.returncode == 0, done.stderr
    refused = daskd("restore", backup, daemon=daemon)
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    daemon.stop()
    (daemon.state_dir / "daskd.db").write_bytes(b"damaged")
    done = daskd("restore", backup, daemon=daemon)
    assert done.returncode == 0, done.stderr
    daemon.start()
    assert daskctl("get", "etl")["phase"] == "PHASE_RUNNING"
    assert len(daskctl("scale", "etl", "2")["name"])
