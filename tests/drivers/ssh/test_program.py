"""What is sent to a host, and what is believed of its answer: here the host is a shell of this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import daskd
from daskd.drivers import payload
from daskd.drivers.local.process import MARK
from daskd.drivers.ssh import program

NONCE = "0123456789abcdef"


def send(data: bytes, python: str = sys.executable, before: str = "") -> subprocess.CompletedProcess[bytes]:
    """Hand it to the command as a login shell runs it."""
    return subprocess.run(
        ["sh", "-c", before + program.command(python)], input=data, capture_output=True, timeout=60, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    """What every request to this host says."""
    return {"directory": str(tmp_path / "daskd"), "state": "abcde", "host": "h1_22"}


def survey(place: dict[str, Any]) -> dict[str, Any]:
    return {"verb": "survey", "pythons": ["no-such-python", sys.executable], "version": True, **place}


def test_a_host_without_daskd_answers(place: dict[str, Any]) -> None:
    """Python and the standard library are all that answering takes; `distributed` is found where it is."""
    done = send(program.encode(survey(place), NONCE), before="cd / && env -i PATH=$PATH ")
    answer = program.decode(done.stdout, NONCE)["answer"]
    assert answer["python"] == sys.executable
    assert answer["distributed"]
    assert answer["running"] == {}
    assert not Path(place["directory"]).exists()


def test_what_a_login_prints_is_no_answer(place: dict[str, Any]) -> None:
    """A greeting before the answer, one that looks like JSON even, does no harm."""
    done = send(program.encode(survey(place), NONCE), before='echo "{\\"answer\\": 1}"; echo -n welcome; ')
    assert program.decode(done.stdout, NONCE)["answer"]["python"] == sys.executable


@pytest.mark.parametrize("damage", ["cut", "changed", "nothing"])
def test_a_damaged_request_starts_nothing(place: dict[str, Any], damage: str) -> None:
    """What did not arrive whole and unchanged is not run."""
    data = program.encode(survey(place), NONCE)
    data = {"cut": data[:-10], "changed": data[:-1] + bytes([data[-1] ^ 1]), "nothing": data.partition(b"\n")[0]}[
        damage
    ]
    done = send(data)
    assert done.returncode == program.EXIT_DAMAGED
    assert done.stdout == b""


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_an_answer_that_broke_off_is_none(place: dict[str, Any], cut: int) -> None:
    """A connection that ended in the middle of an answer says nothing."""
    output = send(program.encode(survey(place), NONCE)).stdout
    with pytest.raises(program.Unreadable):
        program.decode(output[:cut], NONCE)


@pytest.mark.parametrize("text", [b"[]", b"{}", b"{", b"[" * 100_000, b'"answer"', b'{"answer": 1}'])
def test_an_answer_that_says_something_else_is_none(text: bytes) -> None:
    """A host may write what it likes, and is believed nothing that is not an answer."""
    with pytest.raises(program.Unreadable):
        program.decode(b"\n%s %d\n%s" % (NONCE.encode(), len(text), text), NONCE)


def test_nothing_of_a_request_is_in_the_command_line() -> None:
    """`ps` shows a loader that is the same for everybody."""
    assert program.command("python3") == program.command("python3")
    assert len(program.command("python3")) < 400


def test_the_same_runtime_has_the_same_digest() -> None:
    """It is kept on hosts by its digest: the same files are the same bytes."""
    first = payload.runtime()
    payload.runtime.cache_clear()
    assert payload.runtime() == first
    assert first.digest == hashlib.sha256(first.code).hexdigest()


def test_a_folder_that_others_can_write_is_refused(place: dict[str, Any]) -> None:
    """Keys are put nowhere where others could reach."""
    folder = Path(place["directory"])
    folder.mkdir()
    folder.chmod(0o777)
    answer = program.decode(send(program.encode(survey(place), NONCE)).stdout, NONCE)
    assert "its user alone can write" in answer["refused"]


def test_a_launch_without_the_code_does_nothing(place: dict[str, Any]) -> None:
    """Where the runtime is missing it is asked for, and no instance has begun."""
    request = launch(place)
    answer = program.decode(send(program.encode(request, NONCE)).stdout, NONCE)
    assert answer == {"answer": {"missing": True}}
    assert not list(Path(place["directory"]).rglob("instances/*"))


def launch(place: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request to launch one node."""
    return {
        "verb": "launch",
        "cluster": "c" + "a" * 19,
        "digest": payload.runtime().digest,
        "code": None,
        "secret": {"worker.key": payload.text_of(b"a secret")},
        "pythons": [sys.executable],
        "cwd": "/no/such/folder",
        "environment": {"PASSWORD": "a secret"},
        "import_path": [],
        "spec": {"role": "node", "host": None, "local_directory": "", "memory_limit": "auto", "nthreads": 1},
        "launch": {"version": 1, "log": {"max_bytes": 1024, "files": 1}, "grace": 1.0},
        "members": [{"id": "dabcdeaaaaaaaa", "workers": ["w-0"], "take": {"workers": 1, "cores": 1, "memory": 0}}],
        **place,
        **more,
    }


def test_all_of_the_runtime_is_sent() -> None:
    """The archive holds every module of the runtime, those of its packages too."""
    folder = Path(daskd.__file__).parent / "runtime"
    with zipfile.ZipFile(io.BytesIO(payload.runtime().code)) as archive:
        assert set(archive.namelist()) == {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def test_what_is_put_on_a_host_is_its_users_alone(place: dict[str, Any]) -> None:
    """Folders are 0700, files 0600, whatever the umask; a node without its spec ends by itself, and says why."""
    request = launch(place, code=payload.text_of(payload.runtime().code))
    done = send(program.encode(request, NONCE), before="umask 000; ")
    assert program.decode(done.stdout, NONCE)["answer"] == {"members": {"dabcdeaaaaaaaa": ["accepted", ""]}}
    instance = next(Path(place["directory"]).rglob("instances/dabcdeaaaaaaaa"))
    ask = {"verb": "observe", "known": {"dabcdeaaaaaaaa": request["cluster"]}, "deep": True, **place}
    end = None
    while end is None:
        answer = program.decode(send(program.encode(ask, NONCE)).stdout, NONCE)["answer"]
        end = answer["facts"]["dabcdeaaaaaaaa"]["end"]
    assert end["code"] == 80
    modes = {path.stat().st_mode & 0o077 for path in (Path(place["directory"]), *Path(place["directory"]).rglob("*"))}
    assert modes == {0}
    told = json.loads((instance / "launch.json").read_text())
    assert told["cwd"] == os.path.expanduser("~")
    assert told["env"][MARK] == "dabcdeaaaaaaaa"
    shutil.rmtree(place["directory"])
