"""Socket files: what hinders taking their place is told with the mend."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskd.model.errors import StateUnusable
from daskd.security.sockets import SocketFile, socket_mode


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dk") as name:
        yield Path(name)


def test_a_path_that_is_too_long_is_refused(directory):
    """The limit counts what stands beside it too, and the words say the number."""
    longest = directory / ("x" * (98 - len(str(directory)) - 1))
    SocketFile(longest).check()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{longest}.auth.new")

    with pytest.raises(StateUnusable, match="99 bytes long, and a unix socket's may have 98: listen on a shorter"):
        SocketFile(Path(f"{longest}x")).check()


def test_a_missing_folder_is_named(directory):
    """The words say which folder to create."""
    with pytest.raises(StateUnusable, match=f"create the folder {directory}/none"):
        SocketFile(directory / "none" / "s").check()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_not_removed(directory, kind):
    """A file, a folder, a link in the place is left alone, and the words say so."""
    path = directory / "s"
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")

    with pytest.raises(StateUnusable, match="is there and no socket"):
        SocketFile(path).check()

    assert os.path.lexists(path)


def test_a_socket_appears_with_its_mode_and_is_released(directory):
    """It is never seen in its place with another mode; released, it is gone; again, nothing happens."""
    file = SocketFile(directory / "s")
    file.check()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(file.draft))
        claim = file.publish(0o640)
        assert [path.name for path in directory.iterdir()] == ["s"]
        assert (directory / "s").stat().st_mode & 0o777 == 0o640
        claim.release()
        claim.release()
    assert list(directory.iterdir()) == []


def test_a_draft_that_was_left_is_cleared(directory):
    """A daemon that was killed while it started leaves nothing in the way."""
    file = SocketFile(directory / "s")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(file.draft))

    file.check()

    assert list(directory.iterdir()) == []


def test_only_roots_daemon_is_open_to_all():
    """Another user's daemon serves that user alone."""
    assert (socket_mode(0), socket_mode(1000)) == (0o666, 0o600)
