"""A cluster in an environment about two years older than the daemon's, and of another Python where there is one.

Its user works in that environment, too: a notebook there makes the cluster, dies, and another goes on. What has other
versions than the cluster is told so in words.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskd_client import IncompatibleVersions, RemoteCluster, VersionMismatch

from ..daemon_process import DaemonProcess, until
from .environments import ROOT, python_of, source_environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

MAKE = """
    import json, sys
    import distributed
    from daskd_client import RemoteCluster
    from tests.client.tasks import behind, increment

    cluster = RemoteCluster("etl", n_workers=2, python=sys.executable, worker={"nthreads": 4, "memory_limit": "512MiB"})
    client = cluster.get_client()
    waiting = [client.submit(behind, GATE, n, pure=False) for n in range(4)]
    done = client.submit(increment, 40)
    assert done.result(60) == 41
    there = {sys.executable}, {distributed.__version__}
    assert {client.run_on_scheduler(lambda: sys.executable)} == there[0]
    assert set(client.run(lambda: sys.executable).values()) == there[0]
    assert set(client.run(lambda: __import__("distributed").__version__).values()) == there[1]
    print("ready", flush=True)
    sys.stdin.read()
"""

GO_ON = """
    from pathlib import Path
    from distributed import wait
    from daskd_client import RemoteCluster
    from tests.client.tasks import behind, increment

    cluster = RemoteCluster.attach("etl")
    client = cluster.get_client()
    futures = cluster.recover(client)
    assert len(futures) == 5, futures
    Path(GATE).touch()
    assert sorted(future.result(60) for future in futures.values()) == [0, 1, 2, 3, 41]

    # scaled up, more work; scaled down, its results move: nothing is computed twice
    cluster.scale(3)
    client.wait_for_workers(3, timeout=60)
    more = [client.submit(behind, GATE, n, pure=False) for n in range(100, 130)]
    wait(more, timeout=60)
    cluster.scale(1)
    while len(client.scheduler_info()["workers"]) > 1:
        wait(client.submit(increment, 1, pure=False), timeout=60)
    assert sorted(client.gather(more)) == list(range(100, 130))
    begun = Path(GATE + ".begun").read_text().split()
    assert sorted(map(int, begun)) == [0, 1, 2, 3, *range(100, 130)], begun

    # adaptive, from nothing
    del futures, more
    cluster.adapt(minimum=0, maximum=2)
    assert client.submit(increment, 1, pure=False).result(60) == 2
    logs = cluster.get_logs()
    assert "Scheduler at" in logs["Scheduler"], logs
    assert any("Start worker at" in text or "joined the scheduler" in text for text in logs.values()), logs
    cluster.shutdown()
"""


@contextmanager
def session(daemon: DaemonProcess, program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process of the older environment that runs a program, in which GATE stands for a file."""
    environment = {**source_environment(), "DASKD_ADDRESS": daemon.address, "XDG_CONFIG_HOME": str(daemon.home)}
    environment["PYTHONPATH"] += os.pathsep + str(ROOT)
    process = subprocess.Popen(
        [str(python_of("oldest")), "-c", textwrap.dedent(program).replace("GATE", repr(str(folder / "gate")))],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(daemon: DaemonProcess, program: str, folder: Path) -> None:
    """Run a program of the older environment until it says that it is ready, and kill it then."""
    with session(daemon, program, folder) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        assert said == "ready\n", f"{process.communicate()[1]}\n{daemon.log.read_text()[-3000:]}"
        process.wait(60)


def test_an_older_environment_has_all_of_a_clusters_life(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """Made, computed on, lost by kill -9, recovered, scaled with nothing computed twice, adapted, read, ended."""
    begin(daemon, MAKE, tmp_path)
    until(lambda: sum(one["keys"] for one in daskctl("lost", "etl")["held_work"]) == 5, "the lost work is held")
    with session(daemon, GO_ON, tmp_path) as process:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, f"{errors}\n{daemon.log.read_text()[-3000:]}"
    assert daskctl("list")["clusters"] == []


def test_a_newer_session_is_told_what_does_not_go_together(daemon: DaemonProcess, tmp_path: Path) -> None:
    """Attaching warns; a client, which could compute nothing, is refused in words; what the daemon does still works."""
    begin(daemon, MAKE, tmp_path)
    with pytest.warns(VersionMismatch, match=r"distributed \S+ here and 2024\.11\.0 there") as told:
        cluster = RemoteCluster.attach("etl", address=daemon.address)
    assert [str(one.message).count(str(python_of("oldest"))) for one in told] == [1]
    assert told[0].filename == __file__
    for connect in (cluster.get_client, lambda: Client(cluster)):
        with pytest.raises(IncompatibleVersions, match=r"python=sys\.executable"):
            connect()
    cluster.scale(1)
    assert "Scheduler" in cluster.get_logs()
    cluster.shutdown()


def test_a_cluster_of_an_older_environment_is_told_where_it_is_made(daemon: DaemonProcess) -> None:
    """Who makes a cluster in another environment than their own is warned, in an event loop, too."""
    older = {"python": str(python_of("oldest")), "n_workers": 0, "address": daemon.address}
    with pytest.warns(VersionMismatch, match="not those of cluster 'one'"):
        RemoteCluster("one", **older).close()

    async def make() -> None:
        async with RemoteCluster("two", asynchronous=True, **older):
            pass

    with pytest.warns(VersionMismatch, match="not those of cluster 'two'"):
        asyncio.run(make())


def exchange(daemon: DaemonProcess, daskctl: Callable[..., Any], folder: Path, before: str, after: str) -> None:
    """Give a cluster with one worker of the environment `before` a second one after that became `after`."""
    current = folder / "current"
    current.symlink_to(python_of(before).parent.parent)
    daskctl("create", "etl", "--workers", "1", "--python", str(current / "bin" / "python"))
    current.unlink()
    current.symlink_to(python_of(after).parent.parent)
    _end_zygote(daemon)
    daskctl("scale", "etl", "2", "--no-wait")


def test_workers_of_a_changed_environment_are_told(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """An environment exchanged while its cluster ran: record and history say what differs, once; so does attaching."""
    exchange(daemon, daskctl, tmp_path, "middle", "newest")
    until(lambda: daskctl("get", "etl")["reason"] == "VERSIONS_DIFFER", "the record says that versions differ")
    assert "(scheduler: 2025.7.0)" in daskctl("get", "etl")["message"]
    assert [event["type"] for event in daskctl("events", "etl")["events"]].count("VERSIONS_DIFFER") == 1
    with pytest.warns(VersionMismatch, match="Of cluster 'etl' itself: group 'default' has"):
        RemoteCluster.attach("etl", address=daemon.address).close()


def test_workers_that_would_understand_no_task_are_refused(
    daemon: DaemonProcess, daskctl: Callable[..., Any], tmp_path: Path
) -> None:
    """One that would join, and leave its first task waiting for ever, fails to start instead, in words that say why."""
    exchange(daemon, daskctl, tmp_path, "oldest", "newest")
    record = until(lambda: _failing(daskctl("get", "etl")), "its group says that it fails")
    assert "the scheduler's distributed is 2024.11.0" in record["message"]
    assert "make the cluster anew" in record["message"]


def _failing(record: dict[str, Any]) -> dict[str, Any] | None:
    return record if record["reason"] == "WORKERS_FAILING" else None


def _end_zygote(daemon: DaemonProcess) -> None:
    """End the process that instances are forked from, as it does by itself after ten minutes."""
    zygotes = [pid for pid in daemon.processes() if Path(f"/proc/{pid}/comm").read_text().strip() == "daskd-zygote"]
    assert len(zygotes) == 1
    os.kill(zygotes[0], signal.SIGTERM)
    until(lambda: zygotes[0] not in daemon.processes(), "the zygote has ended")
