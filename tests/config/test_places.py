"""Where files are, and that a runtime directory that others could use is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daskd import places
from daskd.model.errors import InvalidConfig, StateUnusable


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, "/h/.local/state/daskd/M"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "/x/daskd/M"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/daskd/M"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x", "STATE_DIRECTORY": "/var/lib/daskd:/y"}, "/var/lib/daskd/M"),
    ],
)
def test_the_state_is_this_machines(environ, expected):
    """systemd's folder comes first, then XDG's; the machine's id ends the path."""
    assert places.state_dir(environ, "M") == Path(expected)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/tmp/daskd-7"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/daskd"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/daskd"}, "/run/daskd"),
    ],
)
def test_the_sockets_are_the_users(environ, expected):
    """systemd's folder comes first, then XDG's, then one of the user's own in /tmp."""
    assert places.runtime_dir(environ, 7) == Path(expected)


def test_only_root_reads_the_systems_configuration():
    """The system daemon looks into /etc too."""
    environ = {"HOME": "/h"}

    assert places.config_files(environ, 7) == [Path("/h/.config/daskd/daskd.toml")]
    assert places.config_files(environ, 0)[-1] == Path("/etc/daskd/daskd.toml")


def test_a_runtime_directory_is_made_private(tmp_path):
    """A new one has mode 0700, and is accepted again."""
    path = tmp_path / "run"

    places.make_runtime_dir(path, os.geteuid())
    places.make_runtime_dir(path, os.geteuid())

    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "file", "writable", "foreign", "orphan"])
def test_an_unsafe_runtime_directory_is_refused(tmp_path, kind):
    """A link, a file, one that others may write to, own or that has no parent: refused with the mend."""
    path = tmp_path / "run"
    uid = os.geteuid()
    if kind == "link":
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / "real")
    elif kind == "file":
        path.touch()
    elif kind == "orphan":
        path = tmp_path / "missing" / "run"
    else:
        path.mkdir()
        path.chmod(0o770 if kind == "writable" else 0o700)
        uid += kind == "foreign"

    with pytest.raises(StateUnusable, match=r"daemon\.runtime_dir") as caught:
        places.make_runtime_dir(path, uid)

    assert str(path) in caught.value.words


def test_a_machine_without_an_id_says_how_to_make_one(tmp_path):
    """The first file that holds an id counts; with none the error names the tool."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("0123456789abcdef" * 2 + "\n")
    bad.write_text("uninitialized\n")

    assert places.machine_id((bad, good)) == "0123456789abcdef" * 2
    with pytest.raises(InvalidConfig, match="systemd-machine-id-setup"):
        places.machine_id((bad, tmp_path / "none"))
