"""A root daemon, a real Slurm, and two users: jobs and files are the owner's, and nobody else reads a secret."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import daemon_process, until
from tests.users.accounts import Account, accounts, in_reach, limits, needs_limits
from tests.users.conftest import Served

from .lab import PARTITION, Slurm, Unavailable, keys, slurm

ABLE = os.geteuid() == 0 and all(shutil.which(tool) for tool in ("useradd", "userdel", "setpriv", "unshare"))

pytestmark = [
    pytest.mark.systems,
    pytest.mark.xdist_group("users"),
    pytest.mark.skipif(not ABLE, reason="needs root, useradd, setpriv, unshare"),
]


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm whose nodes can run this interpreter as any user."""
    try:
        with slurm(1, in_reach) as made:
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@pytest.fixture(scope="module")
def served(system: Slurm) -> Iterator[Served]:
    """A root daemon for ann and bob; it, they and all that it launched are gone afterwards."""
    config = f'[clusters]\ncontact_host = "127.0.0.1"\n[drivers.slurm]\nconf = "{system.conf}"\nper_minute = 6000\n'
    with accounts("daskd-ann", "daskd-bob") as (ann, bob), daemon_process(config) as daemon:
        daemon.folder.chmod(0o711)
        daemon.runtime_dir.chmod(0o755)
        daemon.wrap = in_reach
        daemon.start()
        yield Served(daemon, ann, bob)
        daemon.kill()
        for job in system.jobs("PENDING", "RUNNING"):
            system.ask("scancel", job, check=False)
        until(lambda: not system.processes(), "no job is left")


def daskctl(served: Served, who: Account, *argv: str) -> Any:
    """What `daskctl ... -o json` answers to a user."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(who.home)}
    done = who.run(sys.executable, "-m", "daskctl", *argv, "-o", "json", env=env)
    assert done.returncode == 0, f"{done.stderr}\n{served.daemon.log.read_text()[-4000:]}"
    return json.loads(done.stdout) if done.stdout.lstrip().startswith("{") else done.stdout


@pytest.fixture
def hers(served: Served) -> Iterator[dict[str, Any]]:
    """A cluster of ann's of one job, running; each test has one of its own, for one of them ends it."""
    options = ["--option", f"queue={PARTITION}", "--option", "walltime=00:30:00"]
    worker = ["--threads", "1", "--memory", "300MB", "--env", "PASSWORD=open-sesame"]
    made = dict(daskctl(served, served.ann, "create", "sim", "--driver", "slurm", "-n", "1", *worker, *options))
    until(lambda: daskctl(served, served.ann, "get", "sim")["groups"][0]["running"] == 1, "it runs", 120.0)
    yield made
    daskctl(served, served.ann, "delete", str(made["uid"]))


def test_jobs_run_as_the_owner(served: Served, system: Slurm, hers: dict[str, Any]) -> None:
    """The job is ann's at Slurm, and so is each of its processes, whose environment has nothing of the daemon's."""
    assert system.ask("squeue", "-h", "-o", "%u").split() == [served.ann.name]
    pids = system.processes()
    assert pids
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(served.ann.uid)}
        assert "0" not in {*status["Gid"].split(), *status["Groups"].split()}
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"HOME={served.ann.home}".encode() in variables
        assert not [each for each in variables if each.startswith((b"DASKD_ADDRESS", b"SUDO_", b"PYTEST_"))]


def test_another_user_reads_no_secret(served: Served, system: Slurm, hers: dict[str, Any]) -> None:
    """Neither what Slurm says of the job nor its script nor a file nor a process shows bob a password or a key."""
    [job] = system.jobs("RUNNING")
    conf = {"SLURM_CONF": str(system.conf)}
    shown = served.bob.run("scontrol", "show", "job", job, env=conf)
    assert shown.returncode == 0
    assert "open-sesame" not in shown.stdout
    number = shown.stdout.partition("JobId=")[2].split()[0]
    script = ["scontrol", "write", "batch_script", number, "-"]
    assert served.bob.run(*script, env=conf).stdout == ""
    assert "DASKD_END" in served.ann.run(*script, env=conf).stdout
    files = [path for path in (served.ann.home / ".daskd").rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in files} == {served.ann.uid}
    secret = [path for path in files if path.suffix == ".key" or path.name in ("spec.json", "launch.json")]
    assert {"worker.key", "spec.json", "launch.json"} == {path.name for path in secret}
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}
    clusters = next((served.ann.home / ".daskd").rglob("clusters"))
    assert {folder.stat().st_mode & 0o077 for folder in clusters.iterdir()} == {0}
    assert not [line for line in system.processes().values() if "open-sesame" in line]


def test_the_owner_reads_logs_and_leaves_nothing(served: Served, system: Slurm, hers: dict[str, Any]) -> None:
    """Her logs are read as she, and when her cluster has ended there is no job of hers and no key."""
    env = {"DASKD_ADDRESS": served.daemon.address}
    logs = served.ann.run(sys.executable, "-m", "daskctl", "logs", "sim", env=env)
    assert "worker-started" in logs.stdout, logs.stderr
    daskctl(served, served.ann, "delete", "sim")
    until(lambda: not system.processes(), "no process is left", 120.0)
    until(lambda: not keys(served.ann.home / ".daskd"), "no key is left")
    assert list((served.ann.home / ".daskd").rglob("output.*.log"))


@needs_limits
def test_whom_pam_refuses_submits_nothing(served: Served, system: Slurm) -> None:
    """A refusal is told in PAM's words; Slurm has no job of that user's, and the cluster is ended all the same."""
    options = ["--option", f"queue={PARTITION}", "--option", "walltime=00:30:00"]
    daskctl(served, served.bob, "create", "refused", "-n", "0", "--driver", "slurm", *options)
    with limits(served.bob, "- maxlogins 0"):
        daskctl(served, served.bob, "scale", "refused", "1", "--no-wait")
        message = until(lambda: _refusal(served), "the submission is refused")
        assert "There were too many logins for 'daskd-bob'" in message
        assert not system.jobs("PENDING", "RUNNING")
        daskctl(served, served.bob, "delete", "refused")


def _refusal(served: Served) -> str:
    events = daskctl(served, served.bob, "events", "refused")["events"]
    return next((event["message"] for event in events if event["type"] == "LAUNCH_REFUSED"), "")
