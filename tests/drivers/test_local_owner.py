"""A process is started as another user: with all that a session gives, with nothing that is root's, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.batch.here import Here
from daskd.drivers.batch.pace import Lane
from daskd.drivers.batch.runner import NotRun, Runner
from daskd.drivers.local import owner
from daskd.model.identity import Identity

from ..daemon_process import until

NOBODY = Identity("nobody", 65534, 65534, "/")
MYSELF = Identity("me", os.geteuid(), os.getegid(), "/")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def seen(program: str, session: owner.Service) -> str:
    """What a shell's program says, run as nobody; it can execute this machine's shell, if not this interpreter."""
    process = owner.start_as(
        NOBODY,
        ["/bin/sh", "-c", program],
        session,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.defpath},
        # as one of PAM's modules may leave it open
        placed=lambda argv: ["/bin/sh", "-c", 'exec "$@" 7</etc/shadow', "sh", *argv],
    )
    assert process.stderr is not None
    with process.stderr as said:
        text = said.read().decode()
    assert process.wait(60) == 0
    return text


@as_root
@pytest.mark.parametrize("session", [owner.NO_SESSION, owner.session_service()])
def test_nothing_of_roots_goes_along(session: owner.Service) -> None:
    """Another user's process has that user's ids alone, no capability, no descriptor but 0 to 2, no signal ignored."""
    text = seen("cat /proc/self/status >&2; ls /proc/self/fd >&2; umask >&2", session)
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert set(status["Groups"].split()) <= {"65534"}
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == int(status["CapInh"], 16) == 0
    # those from 32 on are the C library's own
    assert int(status["SigIgn"], 16) & 0x7FFF_FFFF == 0
    *descriptors, mask = text.splitlines()[-5:]
    assert descriptors == ["0", "1", "2", "3"]  # the last one is that of the listing
    assert int(mask, 8) == 0o022


@as_root
def test_what_cant_be_executed_is_told_by_name() -> None:
    """A program that is not there is refused before anything ran, in words that name it."""
    argv = ["/nonexistent/program"]
    with pytest.raises(owner.NotStarted, match="/nonexistent/program: No such file"):
        owner.start_as(NOBODY, argv, owner.NO_SESSION, stdin=subprocess.DEVNULL, env={})


@as_root
def test_a_user_whom_pam_does_not_know_is_refused() -> None:
    """A session is opened for a user of the machine, and for nobody else."""
    session = owner.session_service()
    if not session.name:
        pytest.skip("this machine's PAM has no service that could refuse")
    with pytest.raises(owner.NotStarted, match=r"(?i)user"):
        owner.check(Identity("uid:54321", 54321, 54321, "/"), session)


def test_daskds_own_service_comes_first(tmp_path: Path) -> None:
    """Where an administrator wrote rules for daskd they hold, accounts' included; else util-linux's; else none."""
    assert owner.session_service([str(tmp_path)]) == owner.NO_SESSION
    (tmp_path / "runuser").touch()
    assert owner.session_service([str(tmp_path)]) == owner.Service("runuser", account=False)
    (tmp_path / "daskd").touch()
    assert owner.session_service([str(tmp_path)]) == owner.Service("daskd", account=True)


# a parent that starts a command which is to die with it, says the command's pid, and is killed
_PARENT = """
import json, os, subprocess, sys
from daskd.drivers.local import owner
report = owner.Report()
argv = owner.command(["/bin/sleep", "600"], report, parent=os.getpid())
child = subprocess.Popen(argv, pass_fds=(report.descriptor,))
report.handed_over()
print(json.dumps({"words": report.words(60), "pid": child.pid}), flush=True)
sys.stdin.read()
"""


def test_what_is_to_die_with_the_daemon_does() -> None:
    """kill -9 of who started a submission ends it, so that nothing is submitted that nobody waits for."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        said: dict[str, Any] = json.loads(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate(timeout=60)
    assert said["words"] == ""
    try:
        until(lambda: _has_ended(said["pid"]), "the command is killed")
    finally:
        if not _has_ended(said["pid"]):
            os.kill(said["pid"], signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    """Whether that process is no more, or waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_submission_answers_as_the_command_does() -> None:
    """Input, output, and an exit code that happens to be the one of a refusal, are the command's own."""
    runner = Runner(Here(MYSELF, "", {}), 6000)
    done = asyncio.run(
        runner.run(["sh", "-c", "cat; echo err >&2; exit 77"], b"in", timeout=60, lane=Lane.ACT, submits=True)
    )
    assert (done.code, done.out, done.err) == (77, "in", "err\n")


def test_a_submission_that_cant_be_executed_was_not_run(tmp_path: Path) -> None:
    """What the kernel refuses to execute submitted nothing, and says so."""
    (tmp_path / "sbatch").write_bytes(b"\x7fELF, or so it says")
    (tmp_path / "sbatch").chmod(0o755)
    runner = Runner(Here(MYSELF, str(tmp_path), {}), 6000)
    with pytest.raises(NotRun, match=r"nothing can be submitted as me: .*sbatch: Exec format error"):
        asyncio.run(runner.run(["sbatch"], timeout=60, lane=Lane.ACT, submits=True))
