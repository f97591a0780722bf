"""What a supervisor does where locks can't be had: on some file systems that the nodes of a cluster share."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from daskd.runtime.supervisor import take_lock


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(number, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_the_records_tell_of_an_earlier_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An instance runs once where nothing can be locked, and what has a record is not run again."""
    without_locks(monkeypatch, number)
    assert take_lock(str(tmp_path))
    (tmp_path / "supervisor.json").touch()
    assert not take_lock(str(tmp_path))


def test_another_failure_is_no_want_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk is not passed over."""
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="no locks available"):
        take_lock(str(tmp_path))
