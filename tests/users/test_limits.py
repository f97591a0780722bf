"""One root daemon, two users: what the machine's PAM says of a user holds for that user's clusters."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..daemon_process import until
from .accounts import Account, limits, needs_limits
from .conftest import Served
from .test_two_users import daskctl, processes_of

NOFILE = 7654
CORE = 3 << 20

pytestmark = needs_limits


LOOK = """
import json, os, resource, sys
from daskd_client import RemoteCluster
from distributed import Client

def look():
    names = ("RLIMIT_NOFILE", "RLIMIT_CORE")
    mask = os.umask(0o077)
    os.umask(mask)
    return {name: resource.getrlimit(getattr(resource, name)) for name in names} | {"umask": mask}

with RemoteCluster.attach(sys.argv[1]) as cluster, Client(cluster) as client:
    seen = {"worker": client.submit(look, pure=False).result(60), "scheduler": client.run_on_scheduler(look)}
    print(json.dumps(seen))
"""


def seen_from_within(served: Served, who: Account, cluster: str) -> dict[str, Any]:
    """Limits and mask of a cluster's worker and scheduler, by their own word."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(who.home)}
    done = who.run(sys.executable, "-c", LOOK, cluster, env=env)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refusal(served: Served, who: Account, *argv: str) -> str:
    """What a user is told whose command fails."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(who.home)}
    done = who.run(sys.executable, "-m", "daskctl", *argv, env=env)
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_a_cluster_has_its_owners_limits(served: Served) -> None:
    """Scheduler and workers have what limits.conf says of their owner, forked or started anew, and nobody else's do."""
    with limits(served.ann, f"hard nofile {NOFILE}", f"soft nofile {NOFILE}", f"- core {CORE // 1024}"):
        daskctl(served, served.ann, "create", "limited", "-n", "1")
        daskctl(served, served.ann, "create", "anew", "-n", "1", "--option", "nice=1")
    daskctl(served, served.bob, "create", "free", "-n", "1")
    for cluster in ("limited", "anew"):
        for within in seen_from_within(served, served.ann, cluster).values():
            assert within["RLIMIT_NOFILE"] == [NOFILE, NOFILE]
            assert within["RLIMIT_CORE"] == [CORE, CORE]
    for within in seen_from_within(served, served.bob, "free").values():
        assert within["RLIMIT_NOFILE"][1] != NOFILE
        assert within["RLIMIT_CORE"][1] != CORE
    for who, name in ((served.ann, "limited"), (served.ann, "anew"), (served.bob, "free")):
        daskctl(served, who, "delete", name)


def test_tasks_write_files_as_after_a_login(served: Served) -> None:
    """What a task writes has the mode that a login's mask gives, and not the daemon's own."""
    daskctl(served, served.ann, "create", "writes", "-n", "1")
    assert {within["umask"] for within in seen_from_within(served, served.ann, "writes").values()} == {0o022}
    daskctl(served, served.ann, "delete", "writes")


def test_whom_pam_refuses_starts_nothing_and_keeps_what_runs(served: Served) -> None:
    """A refusal is told in PAM's words, at creation and when scaling; the cluster is seen and ended all the same."""
    made = daskctl(served, served.bob, "create", "kept", "-n", "1")
    before = processes_of(served, made["uid"])
    with limits(served.bob, "hard maxlogins 0"):
        told = refusal(served, served.bob, "create", "another")
        assert "There were too many logins for 'daskd-bob'" in told
        daskctl(served, served.bob, "scale", "kept", "2", "--no-wait")
        events = until(lambda: _refused(served), "the launch is refused")
        assert "There were too many logins" in events[0]["message"]
        assert daskctl(served, served.bob, "get", "kept")["groups"][0]["running"] == 1
        assert set(before) <= set(processes_of(served, made["uid"]))
        assert json.dumps(daskctl(served, served.bob, "logs", "kept"))
        daskctl(served, served.bob, "delete", "kept")
        until(lambda: not processes_of(served, made["uid"]), "Bob's cluster has ended")


def _refused(served: Served) -> list[dict[str, Any]]:
    events = daskctl(served, served.bob, "events", "kept")["events"]
    return [event for event in events if event["type"] == "LAUNCH_REFUSED"]
