"""Which file system a path is on: SQLite's write-ahead log needs memory that all its users share, so a local one."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from daskd.model.errors import StateUnusable

_NETWORK = re.compile(
    r"nfs\d?|lustre|cifs|smb\d?|smbfs|beegfs|gpfs|ceph|afs|panfs|pvfs2|"
    r"fuse\.(sshfs|glusterfs|ceph(-fuse)?|beegfs|rclone|s3fs|nfs.*)"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: PurePosixPath, mountinfo: str) -> str:
    """The type of the file system that an absolute path without links is on, e.g. "ext4"; empty if none is listed.

    Parameters
    ----------
    mountinfo
        The text of /proc/self/mountinfo.
    """
    deepest, found = -1, ""
    for line in mountinfo.splitlines():
        mount, dash, source = line.partition(" - ")
        fields = mount.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = PurePosixPath(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # a later mount on the same point hides the earlier one
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), source.split(" ")[0]
    return found


def is_network(filesystem: str) -> bool:
    """Whether other machines may have that type of file system mounted too."""
    return _NETWORK.fullmatch(filesystem) is not None


def refuse_network(directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse a state directory on a network file system; where no mounts can be read (not Linux), nothing is refused.

    Raises
    ------
    StateUnusable
        With the mend.
    """
    try:
        text = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return
    filesystem = filesystem_of(PurePosixPath(directory.resolve()), text)
    if is_network(filesystem):
        raise StateUnusable(
            f"the state directory {directory} is on a network file system ({filesystem}), where SQLite's log is not "
            "safe: pass a directory on a local disk with --state-dir",
            facts={"path": str(directory), "filesystem": filesystem},
        )
