"""Which process is which on this machine, and what a file that a runtime wrote may say."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskd.drivers.local import observe, records
from daskd.drivers.local.files import MOST_BYTES, read_document
from daskd.drivers.local.process import MARK, STATE_MARK, ProcessId, boot_id, marked, send, state_of
from daskd.model.cluster import Handle


def start_of(pid: int) -> int:
    """A process's start time in clock ticks."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[19])


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps, marked as one of ours."""
    marks = {MARK: "abcd-efgh", STATE_MARK: "this-state"}
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **marks}) as child:
        yield child
        child.kill()


def identity(child: subprocess.Popen[bytes]) -> ProcessId:
    """Who a child is."""
    return ProcessId(boot_id(), child.pid, start_of(child.pid))


@pytest.mark.parametrize("other", [{"start": 1}, {"boot": "another"}], ids=["start time", "boot"])
def test_who_has_a_used_pid_is_never_signalled(sleeper: subprocess.Popen[bytes], other: dict[str, object]) -> None:
    """A process that has the pid of one that ended, started at another time or after another boot, is left alone."""
    was = dataclasses.replace(identity(sleeper), **other)  # type: ignore[arg-type]
    assert state_of(was) is None
    assert not send(was, signal.SIGKILL)
    assert state_of(identity(sleeper)) is not None
    assert sleeper.poll() is None


def test_who_it_is_is_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    """The very process is signalled."""
    assert send(identity(sleeper), signal.SIGTERM)
    assert sleeper.wait(30) == -signal.SIGTERM


def test_a_zombie_has_ended() -> None:
    """A process that nobody has reaped yet counts as ended and is not signalled."""
    child = subprocess.Popen(["true"])
    try:
        who = identity(child)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert state_of(who) is None
        assert not send(who, signal.SIGKILL)
    finally:
        child.wait()


def test_marked_processes_are_found_by_their_state(sleeper: subprocess.Popen[bytes]) -> None:
    """What bears a state's mark is found with its instance, and no other daemon's is."""
    deadline = time.monotonic() + 30
    while not (found := list(marked("this-state"))):  # until it has become its program
        assert time.monotonic() < deadline
    assert [(one.instance, one.process) for one in found] == [("abcd-efgh", identity(sleeper))]
    assert not list(marked("another-state"))


def test_a_stopped_daemon_ends_no_stranger(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A record that names a pid which another process has by now makes nobody end that process."""
    record = {"pid": sleeper.pid, "start": 1, "boot": boot_id(), "child": {"pid": sleeper.pid, "start": 2}}
    (tmp_path / "supervisor.json").write_text(json.dumps(record))
    for force in (False, True):
        assert not records.end(tmp_path, "zzzz-zzzz", "no-such-state", force)
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * MOST_BYTES, '{"words": "' + "x" * MOST_BYTES + '"}', '{"n": ' + "9" * 5000 + "}", "\xff"],
    ids=["empty", "a list", "half", "deep", "too long", "a huge number", "no UTF-8"],
)
def test_a_damaged_document_is_none(text: str, tmp_path: Path) -> None:
    """What users' code wrote instead of a record is no record, and no error."""
    path = tmp_path / "end.json"
    path.write_bytes(text.encode("latin-1"))
    assert read_document(path) is None


def test_a_link_or_a_pipe_is_no_document(tmp_path: Path) -> None:
    """A link in the place of a record is not followed, and a pipe is not waited for."""
    (tmp_path / "secret").write_text('{"words": "secret"}')
    (tmp_path / "link.json").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe.json")
    assert read_document(tmp_path / "link.json") is None
    assert read_document(tmp_path / "pipe.json") is None


def test_words_that_are_no_unicode_are_mended(tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can hold and no database, is replaced."""
    (tmp_path / "end.json").write_text('{"version": 1, "cause": "exited", "code": 1, "words": "a\\ud800b"}')
    handle = Handle(driver="local", version=1, id="i-1", announce="i-1")
    assert observe.observe(handle, tmp_path, "this-state").words == "a?b"
