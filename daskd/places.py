"""Where the daemon's files are: systemd's directories, else the user's XDG directories.

systemd tells a unit with `StateDirectory=`, `RuntimeDirectory=`, `ConfigurationDirectory=` its folders by environment
variables, for the system's and for a user's units alike; they come first.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from .model.errors import InvalidConfig, StateUnusable

CONFIG_NAME = "daskd.toml"
SYSTEM_CONFIG = Path("/etc/daskd") / CONFIG_NAME
_MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_MACHINE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def config_files(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Where a configuration is looked for when none is named, the first that exists winning.

    The system daemon (root's) has one more place: `/etc/daskd/daskd.toml`.
    """
    places = []
    if folder := _absolute(environ, "CONFIGURATION_DIRECTORY"):
        places.append(folder / CONFIG_NAME)
    home = _absolute(environ, "XDG_CONFIG_HOME") or _home(environ) / ".config"
    places.append(home / "daskd" / CONFIG_NAME)
    if uid == 0:
        places.append(SYSTEM_CONFIG)
    return places


def state_dir(environ: Mapping[str, str], machine_id: str) -> Path:
    """The durable folder of this machine's daemon; not created here.

    It bears the machine's id, because on a shared home another machine's daemon would take every process for dead.
    """
    if folder := _absolute(environ, "STATE_DIRECTORY"):
        return folder / machine_id
    home = _absolute(environ, "XDG_STATE_HOME") or _home(environ) / ".local" / "state"
    return home / "daskd" / machine_id


def runtime_dir(environ: Mapping[str, str], uid: int) -> Path:
    """The folder for sockets; gone after a reboot. Not created here: see `make_private_dir`."""
    if folder := _absolute(environ, "RUNTIME_DIRECTORY"):
        return folder
    if folder := _absolute(environ, "XDG_RUNTIME_DIR"):
        return folder / "daskd"
    return Path(f"/tmp/daskd-{uid}")  # noqa: S108 - created and checked by `make_private_dir`


def make_runtime_dir(path: Path, uid: int) -> None:
    """Create the folder for sockets if it is missing, and check that nobody else can put anything into it.

    Parameters
    ----------
    path
        Its parent must exist. It is made with mode 0700; one that is there may be open to others for reading, as the
        system daemon's is, but not for writing.
    uid
        Who must own it.

    Raises
    ------
    StateUnusable
        When it can't be made, is a link or no folder, belongs to somebody else or can be written by others; the
        words say what to do.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise StateUnusable(
            f"the runtime directory {path} can't be made: {error.strerror}. Set `daemon.runtime_dir` to a folder "
            "that you may write to",
            facts={"path": str(path)},
        ) from error
    check_runtime_dir(path, uid)


def check_runtime_dir(path: Path, uid: int) -> None:
    """Check that a folder for sockets is this user's, and that nobody else can put anything into it.

    Raises
    ------
    StateUnusable
        When it is a link or no folder, belongs to somebody else or can be written by others.
    """
    found = path.lstat()
    mend = f"remove it, or set `daemon.runtime_dir` to another folder (found at {path})"
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise _unusable(path, f"is {kind}: {mend}")
    if found.st_uid != uid:
        raise _unusable(path, f"belongs to uid {found.st_uid}, not to uid {uid}: {mend}")
    if found.st_mode & 0o022:
        mode = stat.S_IMODE(found.st_mode)
        raise _unusable(path, f"can be written by others (mode {mode:04o}): chmod 0700 {path}, or {mend}")


def machine_id(files: tuple[Path, ...] = _MACHINE_ID_FILES) -> str:
    """This machine's id: 32 hexadecimal digits.

    Raises
    ------
    InvalidConfig
        When the machine has none; the words say how to make one.
    """
    for file in files:
        try:
            text = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if _MACHINE_ID.fullmatch(text):
            return text
    raise InvalidConfig(
        f"this machine has no id in {files[0]}: make one with `systemd-machine-id-setup`, or set `daemon.state_dir` to "
        "a folder that no other machine uses",
        facts={"path": str(files[0])},
    )


def _unusable(path: Path, words: str) -> StateUnusable:
    return StateUnusable(f"the runtime directory {path} {words}", facts={"path": str(path)})


def _absolute(environ: Mapping[str, str], variable: str) -> Path | None:
    # systemd separates several by colons, the first being the unit's main one; XDG says to ignore a relative path
    first = environ.get(variable, "").partition(":")[0]
    return Path(first) if first.startswith("/") else None


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    return Path(home) if home.startswith("/") else Path(os.path.expanduser(f"~{os.getuid()}"))
