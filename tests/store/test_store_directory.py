"""The state directory: whose it may be, and where."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import pytest

from daskd.model.errors import StateUnusable
from daskd.store.directory import StateDirectory
from daskd.store.mounts import filesystem_of, is_network, refuse_network


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    """Missing directories are made with mode 0700, and the files in them with 0600, whatever the umask."""
    mask = os.umask(0)
    try:
        directory = StateDirectory.claim(tmp_path / "a" / "b")
    finally:
        os.umask(mask)
    directory.release()
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    assert [mode(directory.database), mode(tmp_path / "a" / "b" / "lock")] == [0o600, 0o600]


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    """A directory in use is refused with the holder's process id, until it is released."""
    held = StateDirectory.claim(tmp_path / "state")
    with pytest.raises(StateUnusable, match=rf"process {os.getpid()}\b.*--state-dir"):
        StateDirectory.claim(tmp_path / "state")
    held.release()
    held.release()
    StateDirectory.claim(tmp_path / "state").release()


@pytest.mark.parametrize("bits", [0o770, 0o702])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, bits: int) -> None:
    """A directory writable by group or others is refused with the chmod that mends it, and left alone."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(bits)
    with pytest.raises(StateUnusable, match="chmod 700"):
        StateDirectory.claim(tmp_path / "state")
    assert list((tmp_path / "state").iterdir()) == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A state directory that is a symbolic link is refused: it could be turned elsewhere."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with pytest.raises(StateUnusable, match="symbolic link"):
        StateDirectory.claim(tmp_path / "state")


def test_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the directory's place, or above it, is refused with the mend."""
    (tmp_path / "state").write_text("")
    for path in (tmp_path / "state", tmp_path / "state" / "below"):
        with pytest.raises(StateUnusable, match="--state-dir"):
            StateDirectory.claim(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    """A directory that belongs to somebody else is refused, root or not."""
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 12345, 12345)
    with pytest.raises(StateUnusable, match="belongs to uid 12345"):
        StateDirectory.claim(tmp_path / "state")


def test_a_database_that_is_a_link_is_refused_and_the_lock_released(tmp_path: Path) -> None:
    """A link in the database's place is not followed, and the directory can be claimed once it is gone."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "daskd.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateUnusable, match="plain file"):
        StateDirectory.claim(tmp_path / "state")
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "state" / "daskd.db").unlink()
    StateDirectory.claim(tmp_path / "state").release()


MOUNTS = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:50 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 8:1 / /home/ann/local rw - xfs /dev/sda1 rw
32 27 0:51 / /scratch rw shared:2 master:3 - lustre mds:/fs rw
33 27 0:52 / /my\040data rw - fuse.sshfs host: rw
34 27 8:2 / /twice rw - ext4 /dev/sdb rw
35 34 0:53 / /twice rw - beegfs beegfs_nodev rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/var/lib/daskd", "ext4"),
        ("/home", "nfs4"),
        ("/home/ann/.local/state", "nfs4"),
        ("/home/ann/local/state", "xfs"),
        ("/homes/ann", "ext4"),
        ("/scratch/x", "lustre"),
        ("/my data/x", "fuse.sshfs"),
        ("/twice/x", "beegfs"),
    ],
)
def test_the_deepest_and_last_mount_counts(path: str, filesystem: str) -> None:
    """A path is on the file system of the deepest mount above it, the last of those on one point."""
    assert filesystem_of(PurePosixPath(path), MOUNTS) == filesystem


@pytest.mark.parametrize(
    ("filesystem", "network"),
    [
        *((name, True) for name in "nfs nfs4 lustre cifs smb3 beegfs gpfs ceph fuse.sshfs fuse.glusterfs".split()),
        *((name, False) for name in "ext4 xfs btrfs tmpfs zfs overlay fuse.fuse-overlayfs fuseblk".split()),
    ],
)
def test_network_file_systems_are_known(filesystem: str, network: bool) -> None:
    """Types of file systems that several machines mount are told from local ones."""
    assert is_network(filesystem) == network


def test_a_network_file_system_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A state directory there is refused with the mend; a link to there does not hide it."""
    (tmp_path / "nfs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nfs")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / {tmp_path.resolve()}/nfs rw - nfs4 server:/ rw\n")
    for path in (tmp_path / "nfs" / "state", tmp_path / "link" / "state"):
        with pytest.raises(StateUnusable, match=r"nfs4.*--state-dir"):
            refuse_network(path, mounts)
    refuse_network(tmp_path / "state", mounts)
    refuse_network(tmp_path / "nfs", tmp_path / "no-mountinfo-here")
