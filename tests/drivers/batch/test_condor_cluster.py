"""A cluster on a real HTCondor, end to end: a root daemon, a user of this machine, and what may befall them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess, daemon_process, until
from tests.users.accounts import REPOSITORY, Account, account, in_reach

from .condor_lab import BIN, Condor, Unavailable, condor
from .lab import keys
from .user_session import SLOW

pytestmark = [pytest.mark.systems, pytest.mark.timeout(900)]

RUNNING = 2
SESSION = REPOSITORY / "tests" / "drivers" / "batch" / "user_session.py"


@pytest.fixture
def system() -> Iterator[Condor]:
    """An HTCondor whose jobs can run this interpreter as any user."""
    try:
        with condor(in_reach) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no HTCondor here: {refusal}")


@pytest.fixture
def ann(system: Condor) -> Iterator[Account]:
    """Who uses it: HTCondor runs no jobs of root."""
    with account("daskd-ann") as made:
        yield made


@pytest.fixture
def daemon(system: Condor, ann: Account) -> Iterator[DaemonProcess]:
    """A root daemon that uses it, with a profile of one-threaded workers there."""
    config = f"""\
[clusters]
contact_host = "127.0.0.1"
[drivers.htcondor]
bin = "{BIN}"
conf = "{system.conf}"
per_minute = 6000
poll = 2
[profiles.jobs.spec.group]
driver = "htcondor"
nthreads = 1
memory_limit = "300MB"
environment = {{ PASSWORD = "open-sesame" }}
[profiles.jobs.spec.group.options]
walltime = "00:30:00"
"""
    with daemon_process(config) as process:
        process.folder.chmod(0o711)
        process.runtime_dir.chmod(0o755)
        process.wrap = in_reach
        process.start()
        yield process


def session(who: Account, daemon: DaemonProcess, verb: str) -> subprocess.Popen[bytes]:
    """What the user does, begun."""
    env = {"DASKD_ADDRESS": daemon.address, "HOME": str(who.home)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return who.popen(sys.executable, str(SESSION), verb, env=env, **pipes)


def answer(process: subprocess.Popen[bytes]) -> str:
    """What it said when it had ended."""
    try:
        out, err = process.communicate(b"go on\n", timeout=2 * SLOW)
    finally:
        process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


def check_a_killed_daemon_is_missed_by_nobody(ann: Account, daemon: DaemonProcess, system: Condor) -> None:
    """kill -9 in the middle of a computation: the same jobs, the same workers, every result."""
    computing = session(ann, daemon, "compute")
    assert computing.stdout is not None
    said = computing.stdout.readline()
    if said != b"computing\n":
        answer(computing)
    jobs = system.jobs(RUNNING)
    assert len(jobs) == 2
    daemon.restart()
    assert answer(computing) == "computed\n"
    assert system.jobs() == jobs


def check_they_are_hers_and_nobody_reads_a_secret(ann: Account, system: Condor) -> None:
    """Jobs, processes and files are the user's; what HTCondor shows to everybody holds no password and no key."""
    assert set(system.ask("condor_q", "-allusers", "-af", "Owner").split()) == {ann.name}
    shown = system.ask("condor_q", "-allusers", "-long")
    assert ann.name in shown
    lines = system.processes()
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in lines} == {ann.uid}
    for text in (shown, *lines.values()):
        assert "open-sesame" not in text
        assert "PRIVATE KEY" not in text
    files = [path for path in (ann.home / ".daskd").rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in files} == {ann.uid}
    secret = [path for path in files if path.suffix in (".key", ".sh") or path.name in ("spec.json", "launch.json")]
    assert {"worker.key", "spec.json", "launch.json"} < {path.name for path in secret}
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}


def test_a_cluster_lives_through_everything(daemon: DaemonProcess, ann: Account, system: Condor) -> None:
    """Create by a profile, compute, kill -9 of the daemon, attach, adapt, delete: nothing is lost, and nothing left."""
    check_a_killed_daemon_is_missed_by_nobody(ann, daemon, system)
    check_they_are_hers_and_nobody_reads_a_secret(ann, system)
    assert answer(session(ann, daemon, "adapt")) == "adapted\n"
    until(lambda: len(system.jobs()) == 1, "the jobs of those that retired have ended", SLOW)
    assert answer(session(ann, daemon, "end")) == "ended\n"
    until(lambda: not system.jobs(), "no job is left in the queue", SLOW)
    until(lambda: not system.processes(), "nothing runs any more", SLOW)
    until(lambda: not keys(ann.home / ".daskd"), "no key is left")
    assert not list((ann.home / ".daskd").rglob("jobs/*.sh"))
