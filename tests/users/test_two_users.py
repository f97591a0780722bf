"""One root daemon, two users: what each has is that user's alone, down to the processes, files and sockets."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ..daemon_process import until
from .accounts import Account
from .conftest import Served


def daskctl(served: Served, who: Account, *argv: str) -> Any:
    """What `daskctl ... -o json` answers to a user."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(who.home)}
    done = who.run(sys.executable, "-m", "daskctl", *argv, "-o", "json", env=env)
    assert done.returncode == 0, f"{done.stderr}\n{served.daemon.log.read_text()[-4000:]}"
    return json.loads(done.stdout)


def processes_of(served: Served, cluster: str) -> list[int]:
    """The processes of a cluster."""
    folder = f"/clusters/{cluster}".encode()
    found = []
    for pid in served.daemon.processes():
        try:
            if folder in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def hers(served: Served) -> dict[str, Any]:
    """Ann's running cluster."""
    return dict(daskctl(served, served.ann, "create", "etl", "-n", "1", "--env", "PASSWORD=open-sesame"))


def test_a_cluster_runs_as_its_owner(served: Served, hers: dict[str, Any]) -> None:
    """Every process of a cluster has its owner's uid, group and groups, none of them root's, in the owner's home."""
    pids = processes_of(served, hers["uid"])
    assert len(pids) >= 3  # a supervisor each, a scheduler, a node
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(served.ann.uid)}
        assert "0" not in {*status["Gid"].split(), *status["Groups"].split()}
    environments = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in pids]
    assert any(f"HOME={served.ann.home}".encode() in environment for environment in environments)


def test_no_other_user_reads_processes_files_or_sockets(served: Served, hers: dict[str, Any]) -> None:
    """Bob opens no file of Ann's cluster, lists none of its folders, reads no environment, reaches no link."""
    state = served.daemon.state_dir
    cluster = state / "users" / str(served.ann.uid) / "clusters" / hers["uid"]
    assert served.ann.can(f"os.listdir({str(cluster)!r})")
    for folder in (state, state / "users", cluster.parent.parent, cluster, served.daemon.runtime_dir / "links"):
        assert not served.bob.can(f"os.listdir({str(folder)!r})"), folder
    logs = sorted(cluster.glob("instances/*/output.*.log"))
    assert logs
    for file in (*logs, *cluster.glob("tls/*"), state / "daskd.db"):
        assert not served.bob.can(f"open({str(file)!r})"), file
    pid = processes_of(served, hers["uid"])[0]
    assert served.ann.can(f"open('/proc/{pid}/environ').read()")
    assert not served.bob.can(f"open('/proc/{pid}/environ').read()")
    link = next((served.daemon.runtime_dir / "links").iterdir())
    assert not served.bob.can(f"socket.socket(socket.AF_UNIX).connect({str(link)!r})")


def test_the_api_shows_one_users_cluster_to_nobody_else(served: Served, hers: dict[str, Any]) -> None:
    """Bob's list is empty, and Ann's cluster is, by name, owner/name and uid, as one that never was."""
    assert daskctl(served, served.bob, "list")["clusters"] == []
    env = {"DASKD_ADDRESS": served.daemon.address}
    for name in ("etl", f"{served.ann.name}/etl", hers["uid"]):
        for command in ("get", "logs", "workers", "delete"):
            done = served.bob.run(sys.executable, "-m", "daskctl", command, name, env=env)
            assert done.returncode == 1, done.stdout
            assert "you have no cluster" in done.stderr


def test_two_users_may_have_clusters_of_one_name(served: Served, hers: dict[str, Any]) -> None:
    """Bob's own "etl" is another cluster, runs as Bob, and ends without touching Ann's."""
    his = daskctl(served, served.bob, "create", "etl", "-n", "0")
    assert his["uid"] != hers["uid"]
    owners = {os.stat(f"/proc/{pid}").st_uid for pid in processes_of(served, his["uid"])}
    assert owners == {served.bob.uid}
    daskctl(served, served.bob, "delete", "etl")
    until(lambda: not processes_of(served, his["uid"]), "Bob's cluster has ended")
    assert processes_of(served, hers["uid"])
    assert daskctl(served, served.ann, "get", "etl")["phase"] == "PHASE_RUNNING"


# Prints what an HTTP server says to each page: the body, unless there is no such page, or no such server.
ASK_PAGES = """
for page in ('/', '/status', '/info/main/workers.html', '/metrics', '/health', '/sitemap.json', '/json/counts.json'):
    with socket.create_connection(('127.0.0.1', PORT), 20) as s:
        s.settimeout(20)
        s.sendall(f'GET {page} HTTP/1.0\\r\\n\\r\\n'.encode())
        try:
            answer = b''.join(iter(lambda: s.recv(4096), b'')).decode('latin1')
        except OSError:
            answer = ''
    head, _, body = answer.partition('\\r\\n\\r\\n')
    status = head.split(' ')[1] if head.startswith('HTTP/') else 'none'
    print(status if status in ('none', '404') else page + ' ' + body)
"""


def listening(pids: list[int]) -> list[int]:
    """The TCP ports that processes listen on."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes]


def test_no_dashboard_stands_open(served: Served, hers: dict[str, Any]) -> None:
    """Where many users are served no port of a cluster has a page for anybody: Dask's ask nobody who they are."""
    assert not hers["spec"]["dashboard"]
    ports = listening(processes_of(served, hers["uid"]))
    assert len(ports) >= 3  # the scheduler's, the nanny's, the worker's
    for port in ports:
        code = ASK_PAGES.replace("PORT", str(port))
        done = served.bob.run(sys.executable, "-I", "-S", "-c", f"import socket\n{code}")
        assert done.returncode == 0, done.stderr
        # distributed's workers know no way to have no HTTP server; ours have one without a single page, which says so
        assert set(done.stdout.splitlines()) <= {"none", "404", '/sitemap.json {"paths": ["/sitemap.json"]}'}, (
            port,
            done.stdout,
        )


COMPUTE = """
import os
from daskd_client import RemoteCluster
from distributed import Client
with RemoteCluster.attach("daskd-ann/etl") as cluster, Client(cluster) as client:
    print(client.submit(os.getuid, pure=False).result(60))
"""


def test_who_may_use_a_cluster_computes_on_it_as_its_owner(served: Served, hers: dict[str, Any]) -> None:
    """Bob can't attach to Ann's cluster until she shares it; then his task runs, under her uid."""
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(served.bob.home)}
    refused = served.bob.run(sys.executable, "-c", COMPUTE, env=env)
    assert "ClusterNotFound" in refused.stderr
    daskctl(served, served.ann, "share", "etl", served.bob.name)
    computed = served.bob.run(sys.executable, "-c", COMPUTE, env=env)
    assert computed.stdout.split() == [str(served.ann.uid)], computed.stderr
    events = daskctl(served, served.ann, "events", "etl")["events"]
    told = [(event["type"], event["actor"]) for event in events]
    assert ("CALL_REFUSED", served.bob.name) in told
    assert ("CONNECTION_GIVEN", served.bob.name) in told
    daskctl(served, served.ann, "unshare", "etl", served.bob.name)


def helpers_of(who: Account) -> list[int]:
    """The processes that work for a user in the daemon's stead."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            is_theirs = entry.name.isdigit() and os.stat(entry).st_uid == who.uid
            if is_theirs and b"daskd.drivers.local.helper" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_helpers_that_are_killed_are_started_again(served: Served, hers: dict[str, Any]) -> None:
    """What works for Ann in the daemon's stead may die: her cluster stays, and is scaled by the next ones."""
    helpers = helpers_of(served.ann)
    assert helpers
    before = processes_of(served, hers["uid"])
    for pid in helpers:
        os.kill(pid, signal.SIGKILL)
    assert daskctl(served, served.ann, "scale", "etl", "2")["groups"][0]["running"] == 2
    assert set(before) < set(processes_of(served, hers["uid"]))


def test_a_restarted_daemon_has_every_owners_cluster_again(served: Served, hers: dict[str, Any]) -> None:
    """kill -9 of the root daemon ends no process of Ann's cluster, and the next daemon scales and ends it."""
    before = processes_of(served, hers["uid"])
    served.daemon.restart()
    assert processes_of(served, hers["uid"]) == before
    daskctl(served, served.ann, "scale", "etl", "1")
    logs = json.dumps(daskctl(served, served.ann, "logs", "etl"))
    assert logs
    daskctl(served, served.ann, "delete", "etl")
    until(lambda: not processes_of(served, hers["uid"]), "Ann's cluster has ended")
