"""The node's promises about its workers and its end, kept by real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client
from node_cluster import RUNTIME, Cluster, living, wait_for


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.clean()


def worker_pids(client: Client) -> dict[str, int]:
    """Process ids of the workers that answer, by name."""
    try:
        pids = client.run(os.getpid, on_error="ignore")
    except (OSError, ValueError):
        return {}
    workers = client.scheduler_info(n_workers=-1)["workers"] if pids else {}
    return {workers[address]["name"]: pid for address, pid in pids.items() if address in workers}


def two_workers(client: Client, other_than: dict[str, int] | None = None) -> dict[str, int] | None:
    """Both workers' process ids once both run, in other processes than before."""
    pids = worker_pids(client)
    old = set((other_than or {}).values())
    return pids if set(pids) == {"default-0", "default-1"} and not old & set(pids.values()) else None


def test_workers_join_as_the_spec_says(cluster: Cluster) -> None:
    """Names, threads, resources and memory limit are the spec's, and the scheduler is asked first."""
    address = cluster.start(nthreads=2, resources={"GPU": 1.5}, memory_limit=1 << 30)
    [join] = cluster.notes("join")
    assert join.pop("versions")["distributed"]
    assert join == {
        "instance": "i-1",
        "incarnation": 0,
        "group": "default",
        "workers": ["default-0", "default-1"],
        "pid": cluster.node.pid,
        "host": "127.0.0.1",
    }
    with Client(address) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        facts = [(w["name"], w["nthreads"], w["resources"], w["memory_limit"]) for w in workers]
        expected = [(name, 2, {"GPU": 1.5}, 1 << 30) for name in ("default-0", "default-1")]
        assert sorted(facts) == expected
        assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
    report = cluster.report()
    assert (report["phase"], report["failure"], report["pid"]) == ("running", None, cluster.node.pid)
    assert (cluster.instance / "report.json").stat().st_mode & 0o777 == 0o600


def test_workers_are_forked_with_their_environment_in_place(cluster: Cluster) -> None:
    """Workers are children of one forkserver, whose environment holds BLAS's thread counts from its start."""
    address = cluster.start()
    forkserver = cluster.forkserver()
    assert {child.pid for child in forkserver.children()} >= {
        int(words.rpartition(" ")[2]) for words in cluster.told("worker-started")
    }
    environ = Path(f"/proc/{forkserver.pid}/environ").read_bytes().decode().split("\0")
    assert {"OMP_NUM_THREADS=1", "MALLOC_TRIM_THRESHOLD_=65536", "PYTHONHASHSEED=6640"} <= set(environ)
    with Client(address) as client:
        assert len(set(client.run(lambda: hash("the same in all")).values())) == 1


def test_workers_draw_random_numbers_of_their_own(cluster: Cluster) -> None:
    """Workers of an ordinary forkserver, which has numpy loaded, don't share its global generator's state."""

    def draw() -> float:
        import numpy as np

        return float(np.random.rand())

    with Client(cluster.start()) as client:
        assert len(set(client.run(draw).values())) == 2


def test_nothing_listens_beyond_its_host(cluster: Cluster) -> None:
    """Every TCP port of node and workers is on the spec's host or on loopback."""
    cluster.start(host="127.0.0.2")
    listening = [
        connection.laddr.ip
        for process in living(cluster.mark)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "127.0.0.2"}


@pytest.mark.parametrize(("dashboard", "status"), [(True, 200), (False, 404)])
def test_workers_pages_are_there_only_when_asked_for(cluster: Cluster, dashboard: bool, status: int) -> None:
    """With `dashboard` a worker's pages are served on loopback, without it none are."""
    address = cluster.start(dashboard=dashboard, workers=[{"name": "default-0"}])
    with Client(address) as client:
        [worker] = client.scheduler_info(n_workers=-1)["workers"].values()
    url = f"http://127.0.0.1:{worker['services']['dashboard']}/health"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            seen = answer.status
    except urllib.error.HTTPError as error:
        seen = error.code
    assert seen == status


def test_term_ends_node_and_workers_in_order(cluster: Cluster) -> None:
    """SIGTERM closes the workers, leaves no process, and exits 0."""
    cluster.start()
    cluster.node.terminate()
    code, line = cluster.end_of_node()
    assert (code, line) == (0, "daskd: ends with code 0, told to end")
    assert cluster.report()["phase"] == "ending"
    wait_for(lambda: not living(cluster.mark))


def test_term_while_joining_ends_the_node(cluster: Cluster) -> None:
    """A node that has not reached its scheduler yet ends on SIGTERM with 0."""
    cluster.start_node(scheduler="tcp://127.0.0.1:1")
    wait_for(lambda: cluster.report().get("failure"))
    cluster.node.terminate()
    assert cluster.end_of_node()[0] == 0


def test_retired_workers_end_the_node(cluster: Cluster) -> None:
    """A retired worker is not started again, and with the last one the node exits 0."""
    address = cluster.start()
    with Client(address) as client:
        workers = {w["name"]: a for a, w in client.scheduler_info(n_workers=-1)["workers"].items()}
        client.retire_workers([workers["default-0"]])
        wait_for(lambda: "worker default-0 was told to close" in cluster.log())
        assert set(worker_pids(client)) == {"default-1"}
        client.retire_workers([workers["default-1"]])
        assert cluster.end_of_node()[0] == 0


def test_scheduler_that_ends_in_order_ends_the_node_in_order(cluster: Cluster) -> None:
    """When a client shuts the scheduler down the node was told to end: 0, not 85."""
    address = cluster.start()
    with Client(address) as client:
        client.shutdown()
    assert cluster.end_of_node()[0] == 0


def test_dead_scheduler_ends_the_node(cluster: Cluster) -> None:
    """A node whose scheduler was killed ends by itself with 85, though nobody tells it to."""
    cluster.start(death_timeout=5)
    cluster.scheduler.kill()
    code, line = cluster.end_of_node(30)
    assert code == 85
    assert "refused" in line
    assert cluster.report()["phase"] == "failed"
    wait_for(lambda: not living(cluster.mark))


def test_dead_scheduler_ends_a_node_whose_workers_are_stuck(cluster: Cluster) -> None:
    """A node ends with 85 though its workers are too busy to notice, and they end with it."""
    cluster.start(death_timeout=3)
    for worker in cluster.forkserver().children():
        worker.suspend()
    cluster.scheduler.kill()
    assert cluster.end_of_node()[0] == 85
    wait_for(lambda: not living(cluster.mark))


def test_restarted_scheduler_gets_its_workers_back(cluster: Cluster) -> None:
    """When a scheduler comes back at its address within the death timeout the node asks anew and rejoins."""
    address = cluster.start(death_timeout=120)
    cluster.scheduler.kill()
    cluster.scheduler.wait(10)
    wait_for(lambda: "refused" in (cluster.report()["failure"] or ""))
    assert cluster.start_scheduler(port=int(address.rpartition(":")[2])) == address
    with Client(address) as client:
        wait_for(lambda: two_workers(client))
    assert len(cluster.notes("join")) >= 2
    assert cluster.report()["failure"] is None


def test_restarted_scheduler_may_fence(cluster: Cluster) -> None:
    """A node that a restarted scheduler refuses ends with 83 and brings it no worker."""
    address = cluster.start(death_timeout=120)
    cluster.answer({"result": "fenced", "words": "i-1 was given up"})
    cluster.scheduler.kill()
    cluster.scheduler.wait(10)
    cluster.start_scheduler(port=int(address.rpartition(":")[2]))
    code, line = cluster.end_of_node()
    assert code == 83
    assert "i-1 was given up" in line


def test_fenced_node_starts_no_worker(cluster: Cluster) -> None:
    """A node that the scheduler calls fenced exits 83 with the scheduler's words."""
    cluster.answer({"result": "fenced", "words": "i-1 was given up at noon"})
    cluster.start_node(scheduler=cluster.start_scheduler())
    code, line = cluster.end_of_node()
    assert code == 83
    assert "i-1 was given up at noon" in line
    assert "Start worker" not in cluster.log()


def test_node_of_an_unfit_release_starts_no_worker(cluster: Cluster) -> None:
    """A node whose distributed the scheduler has no use for exits 86 with the scheduler's words."""
    cluster.answer({"result": "incompatible", "words": "yours is from 2024"})
    cluster.start_node(scheduler=cluster.start_scheduler())
    code, line = cluster.end_of_node()
    assert code == 86
    assert "yours is from 2024" in line
    assert "Start worker" not in cluster.log()


def test_killed_worker_is_restarted_and_told(cluster: Cluster) -> None:
    """A worker killed by the kernel is restarted under its name, and the event names the signal."""
    address = cluster.start()
    with Client(address) as client:
        before = wait_for(lambda: two_workers(client))
        os.kill(before["default-0"], signal.SIGKILL)
        [words] = wait_for(lambda: cluster.told("worker-restarted"))
        assert f"worker default-0: process {before['default-0']} was killed by signal 9" in words
        after = wait_for(lambda: set(now := worker_pids(client)) == set(before) and now)
    assert after["default-1"] == before["default-1"]
    assert after["default-0"] != before["default-0"]


def test_killed_forkserver_is_recovered_from(cluster: Cluster) -> None:
    """When the forkserver is killed both workers come back, and no process of before lives on beside them."""
    address = cluster.start()
    with Client(address) as client:
        before = wait_for(lambda: two_workers(client))
        cluster.forkserver().kill()
        after = wait_for(lambda: two_workers(client, other_than=before))
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in before.values()))
        assert client.submit(sum, [1, 2, 3], pure=False).result(timeout=30) == 6
        assert two_workers(client) == after


def test_killed_node_takes_its_workers_along(cluster: Cluster) -> None:
    """kill -9 of the node ends its forkserver and its workers."""
    cluster.start()
    assert len(living(cluster.mark)) >= 4
    cluster.node.kill()
    cluster.node.wait(10)
    wait_for(lambda: not living(cluster.mark))


def test_client_restart_brings_workers_back(cluster: Cluster) -> None:
    """Client.restart() restarts the workers, and later deaths are still recovered from."""
    address = cluster.start()
    with Client(address) as client:
        before = wait_for(lambda: two_workers(client))
        client.restart(timeout=60)
        after = wait_for(lambda: two_workers(client, other_than=before))
        assert cluster.node.poll() is None
        os.kill(after["default-0"], signal.SIGKILL)
        wait_for(lambda: (now := worker_pids(client)).get("default-0") != after["default-0"] and len(now) == 2)


def test_worker_that_cannot_start_is_told_and_retried(cluster: Cluster) -> None:
    """A worker that can't start is reported with its cause, tried again with pauses, and runs once it can."""
    scratch = cluster.directory / "scratch"
    scratch.write_text("a file where a directory is needed")
    cluster.start_node(scheduler=cluster.start_scheduler(), workers=[{"name": "default-0"}])
    words = wait_for(lambda: len(cluster.told("worker-failed")) >= 2 and cluster.told("worker-failed"))
    assert all("worker default-0" in each and str(scratch) in each for each in words)
    assert str(scratch) in cluster.report()["failure"]
    scratch.unlink()
    wait_for(lambda: cluster.told("worker-restarted"))


def start_supervised(cluster: Cluster) -> subprocess.Popen[bytes]:
    """A node under the supervisor, with both workers running."""
    address = cluster.start_scheduler()
    cluster.write_spec(scheduler=address)
    launch = {
        "version": 1,
        "instance": "i-1",
        "argv": [sys.executable, "-m", "daskd_runtime", "node", str(cluster.instance)],
        "cwd": str(cluster.directory),
        "env": cluster.env,
        "log": {"max_bytes": 1 << 20, "files": 2},
        "grace": 30,
    }
    (cluster.instance / "launch.json").write_text(json.dumps(launch))
    argv = [sys.executable, "-I", "-S", str(RUNTIME / "supervisor.py"), str(cluster.instance)]
    supervisor = subprocess.Popen(argv, start_new_session=True, env={})
    cluster.processes.append(supervisor)
    wait_for(lambda: len(cluster.told("worker-started")) == 2)
    return supervisor


def test_supervised_node_ends_in_order(cluster: Cluster) -> None:
    """TERM to the supervisor ends the node with 0, its words the log's last, and no process is left."""
    supervisor = start_supervised(cluster)
    supervisor.terminate()
    assert supervisor.wait(60) == 0
    end = json.loads((cluster.instance / "end.json").read_text())
    assert (end["cause"], end["code"], end["asked"]) == ("exited", 0, True)
    assert (cluster.instance / "output.1.log").read_text().endswith("F daskd: ends with code 0, told to end\n")
    assert not living(cluster.mark)


def test_killed_supervisor_leaves_no_node_and_no_worker(cluster: Cluster) -> None:
    """kill -9 of the supervisor ends the node and its workers."""
    supervisor = start_supervised(cluster)
    supervisor.kill()
    supervisor.wait(10)
    wait_for(lambda: not living(cluster.mark))
