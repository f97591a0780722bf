"""What a login node is asked, run by a shell as sshd would, without a login node: commands and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch.login import MODULES, endpoint_of
from daskd.drivers.batch.options import BatchSettings
from daskd.drivers.ssh import program
from daskd.drivers.ssh.options import LoginHost

NONCE = "0" * 32


def sent(data: bytes) -> subprocess.CompletedProcess[bytes]:
    """What a host's shell does with it."""
    argv = ["sh", "-c", program.command(sys.executable)]
    env = {"PATH": os.defpath, "SECRET_OF_LOGIN": "x"}
    return subprocess.run(argv, input=data, env=env, capture_output=True, timeout=60, check=False)


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """The node's answer."""
    done = sent(program.encode(request, NONCE, MODULES))
    return dict(program.decode(done.stdout, NONCE)["answer"])


def command(*argv: str, **more: Any) -> dict[str, Any]:
    """A request to run that."""
    return {"verb": "run", "argv": argv, "stdin": "", "timeout": 60, "bin": "", "variables": {}, **more}


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with a command, `echoed`, that tells of its arguments, input, environment and folder."""
    path = tmp_path / "echoed"
    path.write_text('#!/bin/sh\nfor one; do echo "[$one]"; done; cat; env; pwd; umask; echo words >&2; exit 7\n')
    path.chmod(0o755)
    return tmp_path


def test_a_command_gets_its_arguments_and_input_as_they_are(bin_folder: Path) -> None:
    """No shell looks at them; the exit code, and what was written, come back."""
    wild = ["a b", "$HOME `id` \"'", "--array=0-3", "", "new\nline"]
    answer = asked(command("echoed", *wild, bin=str(bin_folder), stdin="#!/bin/sh\n$HOME\n"))
    assert answer["code"] == 7
    assert answer["err"] == "words\n"
    assert answer["out"].startswith("".join(f"[{each}]\n" for each in wild) + "#!/bin/sh\n$HOME\n")


def test_a_commands_environment_is_built(bin_folder: Path) -> None:
    """It has what a login has and what the daemon says, and nothing of what the SSH server's session has."""
    answer = asked(command("echoed", bin=str(bin_folder), variables={"SLURM_CONF": "/etc/x.conf"}))
    lines = answer["out"].splitlines()
    assert "SLURM_CONF=/etc/x.conf" in lines
    assert any(line.startswith("HOME=/") for line in lines)
    assert "SECRET_OF_LOGIN" not in answer["out"]
    assert lines[-2:] == ["/", "0022"]


def test_a_command_that_is_not_there_was_not_run(bin_folder: Path) -> None:
    """Nothing happened, and the words say where it was looked for."""
    answer = asked(command("sbatch", bin=str(bin_folder), variables={"PATH": "/nonexistent"}))
    assert answer == {
        "not_run": "there is no command 'sbatch' in /nonexistent of the login node: set `bin` of the driver"
    }


def test_a_command_that_takes_too_long_is_ended_there(bin_folder: Path) -> None:
    """It is killed on the login node, and what it did is not known."""
    slow, pid = bin_folder / "slow", bin_folder / "pid"
    slow.write_text(f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000\n")
    slow.chmod(0o755)
    answer = asked(command("slow", bin=str(bin_folder), timeout=2))
    assert set(answer) == {"unanswered"}
    if pid.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_what_is_cut_on_its_way_runs_nothing(bin_folder: Path, share: float) -> None:
    """A connection that breaks while a script is being sent has submitted no half of it."""
    touch = bin_folder / "touched"
    touch.write_text(f"#!/bin/sh\ntouch {bin_folder}/done\n")
    touch.chmod(0o755)
    whole = program.encode(command("touched", bin=str(bin_folder), stdin="x" * 1000), NONCE, MODULES)
    assert sent(whole[: int(len(whole) * share)]).returncode == program.EXIT_DAMAGED
    assert not (bin_folder / "done").exists()
    sent(whole)
    assert (bin_folder / "done").exists()


def test_files_are_those_of_the_login_node(tmp_path: Path) -> None:
    """A cluster's folder is made, read and removed there; what its user can't do is told apart from what failed."""
    root, folder = str(tmp_path / "root"), str(tmp_path / "root" / "abcde" / "slurm" / "clusters" / "c1")
    made = {"verb": "files", "question": "make", "arguments": {"root": root, "folder": folder}}
    assert asked(made) == {"done": {}}
    path = f"{folder}/jobs/x.sh"
    assert asked({"verb": "files", "question": "put", "arguments": {"path": path, "text": "secret"}}) == {"done": {}}
    assert Path(path).stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").touch()
    refused = asked({**made, "arguments": {"root": f"{tmp_path}/file", "folder": f"{tmp_path}/file/x"}})
    assert "log_directory" in refused["refused"]
    missing = {"path": f"{tmp_path}/none/x", "text": ""}
    assert set(asked({"verb": "files", "question": "put", "arguments": missing})) == {"failed"}
    forget = {"verb": "files", "question": "forget", "arguments": {"root": root, "folder": folder}}
    assert asked(forget) == {"done": {}}
    assert not Path(folder).exists()


def test_who_logs_in_is_the_owner_or_whom_the_administrator_names() -> None:
    """A name in the configuration goes before the owner's; nothing else has a say."""
    assert endpoint_of(LoginHost(host="login1"), "ann").username == "ann"
    assert endpoint_of(LoginHost(host="login1", username="dask"), "ann").username == "dask"


def test_a_login_node_may_be_written_in_short() -> None:
    """As the SSH driver's hosts: a text, or a table; host keys are checked unless it says otherwise."""
    short = BatchSettings.model_validate({"login_host": "dask@login1:2222"}).login_host
    assert short == LoginHost(host="login1", username="dask", port=2222)
    with pytest.raises(ValueError, match="host keys are checked"):
        BatchSettings.model_validate({"login_host": {"host": "login1", "known_hosts": None}})
    with pytest.raises(ValueError, match="Extra inputs"):
        BatchSettings.model_validate({"login_host": {"host": "login1", "slots": 3}})
