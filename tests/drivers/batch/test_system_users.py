"""A root daemon and two users on each batch system: jobs and files are the owner's, and nobody else reads a secret."""

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

from .lab import keys
from .labs import LABS, Lab

ABLE = os.geteuid() == 0 and all(shutil.which(tool) for tool in ("useradd", "userdel", "setpriv", "unshare"))
PASSWORD = "open-sesame"

pytestmark = [
    pytest.mark.systems,
    pytest.mark.timeout(1200),  # another run of tests may have the users
    pytest.mark.xdist_group("users"),
    pytest.mark.skipif(not ABLE, reason="needs root, useradd, setpriv, unshare"),
]


@pytest.fixture(scope="module", params=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Each batch system in turn, whose nodes can run this interpreter as any user."""
    with LABS[request.param](in_reach) as made:
        yield made


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    """A root daemon for ann and bob; it, they and all that it launched are gone afterwards."""
    config = f'[clusters]\ncontact_host = "127.0.0.1"\n{lab.config()}'
    with accounts("daskd-ann", "daskd-bob") as (ann, bob), daemon_process(config) as daemon:
        daemon.folder.chmod(0o711)
        daemon.runtime_dir.chmod(0o755)
        daemon.wrap = in_reach
        daemon.start()
        yield Served(daemon, ann, bob)
        daemon.kill()
        lab.cleared()


def daskctl(served: Served, who: Account, *argv: str) -> Any:
    """What `daskctl ... -o json` answers to a user."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(who.home)}
    done = who.run(sys.executable, "-m", "daskctl", *argv, "-o", "json", env=env)
    assert done.returncode == 0, f"{done.stderr}\n{served.daemon.log.read_text()[-4000:]}"
    return json.loads(done.stdout) if done.stdout.lstrip().startswith("{") else done.stdout


@pytest.fixture
def hers(served: Served) -> Iterator[dict[str, Any]]:
    """A cluster of ann's of one job, running; each test has one of its own, for one of them ends it."""
    asked = ["--profile", "jobs", "-n", "1", "--env", f"PASSWORD={PASSWORD}"]
    made = dict(daskctl(served, served.ann, "create", "sim", *asked))
    until(lambda: daskctl(served, served.ann, "get", "sim")["groups"][0]["running"] == 1, "it runs", 120.0)
    yield made
    daskctl(served, served.ann, "delete", str(made["uid"]))


def test_jobs_run_as_the_owner(served: Served, lab: Lab, hers: dict[str, Any]) -> None:
    """The job is ann's at its system, and so are its processes, whose environment has nothing of the daemon's."""
    assert set(lab.owners().values()) == {served.ann.name}
    pids = lab.processes()
    assert pids
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(served.ann.uid)}
        assert "0" not in {*status["Gid"].split(), *status["Groups"].split()}
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"HOME={served.ann.home}".encode() in variables
        assert not [each for each in variables if each.startswith((b"DASKD_ADDRESS", b"SUDO_", b"PYTEST_"))]


def test_another_user_reads_no_secret(served: Served, lab: Lab, hers: dict[str, Any]) -> None:
    """Neither what its system says of the job nor a file nor a command line shows bob a password or a key."""
    [job] = lab.jobs()
    shown = [served.bob.run(*argv, env=dict(lab.variables)).stdout for argv in lab.views(job)]
    assert shown[0].strip()
    for text in shown:
        assert PASSWORD not in text
        assert "PRIVATE KEY" not in text
        assert "DASKD_END" not in text, "the script, which carries all"
    files = [path for path in (served.ann.home / ".daskd").rglob("*") if path.is_file()]
    assert {path.stat().st_uid for path in files} == {served.ann.uid}
    secret = [path for path in files if path.suffix in (".key", ".sh") or path.name in ("spec.json", "launch.json")]
    assert {"worker.key", "spec.json", "launch.json"} <= {path.name for path in secret}
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}
    clusters = next((served.ann.home / ".daskd").rglob("clusters"))
    assert {folder.stat().st_mode & 0o077 for folder in clusters.iterdir()} == {0}
    assert not [line for line in lab.processes().values() if PASSWORD in line]


def test_the_owner_reads_logs_and_leaves_nothing(served: Served, lab: Lab, hers: dict[str, Any]) -> None:
    """Her logs are read as she, and when her cluster has ended there is no job of hers and no key."""
    env = {"DASKD_ADDRESS": served.daemon.address}
    logs = served.ann.run(sys.executable, "-m", "daskctl", "logs", "sim", env=env)
    assert "worker-started" in logs.stdout, logs.stderr
    daskctl(served, served.ann, "delete", "sim")
    until(lambda: not lab.processes() and not lab.jobs(), "no job is left", 120.0)
    until(lambda: not keys(served.ann.home / ".daskd"), "no key is left")
    assert list((served.ann.home / ".daskd").rglob("output.*.log"))


@needs_limits
def test_whom_pam_refuses_submits_nothing(served: Served, lab: Lab) -> None:
    """A refusal is told in PAM's words; there is no job of that user's, and the cluster is ended all the same."""
    daskctl(served, served.bob, "create", "refused", "-n", "0", "--profile", "jobs")
    with limits(served.bob, "- maxlogins 0"):
        daskctl(served, served.bob, "scale", "refused", "1", "--no-wait")
        message = until(lambda: _refusal(served), "the submission is refused")
        assert "There were too many logins for 'daskd-bob'" in message
        assert served.bob.name not in lab.owners().values()
        daskctl(served, served.bob, "delete", "refused")


def _refusal(served: Served) -> str:
    events = daskctl(served, served.bob, "events", "refused")["events"]
    return next((event["message"] for event in events if event["type"] == "LAUNCH_REFUSED"), "")
