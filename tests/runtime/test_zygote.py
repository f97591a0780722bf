"""The zygote's promises: what it forks is what would have been launched, and outlives it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from node_cluster import wait_for
from zygote_cluster import ZygoteCluster, gone, kill, read_line

WORKERS = 4


class Running:
    """A scheduler and a node that were forked, and a client."""

    def __init__(self, cluster: ZygoteCluster) -> None:
        self.cluster = cluster
        self.scheduler = cluster.write_scheduler()
        self.node = cluster.write_node(self.scheduler, WORKERS)
        self.who = [cluster.fork(self.scheduler), cluster.fork(self.node)]
        self.client = Client(cluster.address(self.scheduler), timeout=60)
        self.client.wait_for_workers(WORKERS, timeout=60)

    def processes(self) -> list[psutil.Process]:
        """Supervisors, scheduler, node, forkserver, workers; not the tracker of multiprocessing."""
        supervisors = [psutil.Process(who["pid"]) for who in self.who]
        below = [child for supervisor in supervisors for child in supervisor.children(recursive=True)]
        return [*supervisors, *below]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with ZygoteCluster() as cluster:
        made = Running(cluster)
        with made.client:
            yield made


@pytest.fixture
def cluster() -> Iterator[ZygoteCluster]:
    with ZygoteCluster() as made:
        yield made


def test_workers_draw_random_numbers_of_their_own(running: Running) -> None:
    """Neither numpy's nor Python's global generator gives two workers the same number."""

    def draw() -> tuple[float, float]:
        import numpy as np

        return float(np.random.rand()), random.random()

    drawn = running.client.run(draw).values()
    assert [len(set(kind)) for kind in zip(*drawn, strict=True)] == [WORKERS, WORKERS]


def test_workers_hash_alike(running: Running) -> None:
    """A text's hash is the same in all workers, as partitioning by hash needs."""
    assert len(set(running.client.run(lambda: hash("the same in all")).values())) == 1


def test_the_environment_is_the_launchs_and_no_more(running: Running) -> None:
    """A forked scheduler sees exactly what launch.json says, and nothing of the zygote's own."""
    launch = json.loads((running.scheduler / "launch.json").read_text())
    assert running.client.run_on_scheduler(lambda: dict(os.environ)) == launch["env"]


def test_workers_have_the_launchs_environment_and_dasks(running: Running) -> None:
    """A worker's environment holds launch.json's and what Dask's configuration adds for workers."""
    launch = json.loads((running.node / "launch.json").read_text())
    for environ in running.client.run(lambda: dict(os.environ)).values():
        assert launch["env"].items() <= environ.items()
        assert environ["OMP_NUM_THREADS"] == "1"
        assert "DASKD_GUESSED" not in environ


def test_the_working_directory_is_the_launchs(running: Running) -> None:
    """Scheduler and workers run where launch.json says."""
    seen = {running.client.run_on_scheduler(os.getcwd), *running.client.run(os.getcwd).values()}
    assert seen == {str(running.cluster.directory)}


def test_output_goes_to_the_instances_log(running: Running) -> None:
    """What a task prints stands in its node's log, by way of the supervisor."""

    def say() -> None:
        sys.stdout.write("a task says hello\n")

    running.client.submit(say).result(timeout=60)
    wait_for(lambda: any("a task says hello" in log.read_text() for log in running.node.glob("output.*.log")))


def test_no_descriptor_of_the_zygote_is_left_in_a_child(running: Running) -> None:
    """Neither its socket nor its lock nor a connection is open in any process that it forked."""
    shared = {os.readlink(fd) for fd in Path(f"/proc/{running.cluster.process.pid}/fd").iterdir()} - {"/dev/null"}
    shared.discard(str(running.cluster.folder / "zygote.log"))
    assert any("zygote.lock" in target for target in shared)
    for process in running.processes():
        seen = {target for fd in Path(f"/proc/{process.pid}/fd").iterdir() if (target := _readlink(fd))}
        assert not seen & shared, process


def _readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_each_instance_is_a_session_that_its_supervisor_made(running: Running) -> None:
    """Every process of an instance is in a session whose id is its supervisor's pid."""
    for who in running.who:
        supervisor = psutil.Process(who["pid"])
        sessions = {os.getsid(process.pid) for process in [supervisor, *supervisor.children(recursive=True)]}
        assert sessions == {who["pid"]}


def test_only_the_supervisor_holds_the_instances_lock(running: Running) -> None:
    """The lock falls with the supervisor, for no other process has it open."""
    for who, instance in zip(running.who, (running.scheduler, running.node), strict=True):
        holders = [
            process.pid
            for process in running.processes()
            if str(instance / "lock") in {_readlink(fd) for fd in Path(f"/proc/{process.pid}/fd").iterdir()}
        ]
        assert holders == [who["pid"]]


def test_workers_are_forked_without_a_further_interpreter(running: Running) -> None:
    """The forkserver is a fork of its node: no process of an instance has executed a program."""
    commands = {tuple(process.cmdline()) for process in running.processes()}
    assert commands == {tuple(psutil.Process(running.cluster.process.pid).cmdline())}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to be another user")
def test_another_user_is_refused(running: Running) -> None:
    """Whoever is neither its user nor root is told so before a request is read, whatever the file's mode."""
    path = running.cluster.directory / "zygote.sock"
    for folder in (running.cluster.folder, running.cluster.directory):
        folder.chmod(0o755)
    path.chmod(0o666)
    code = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(s.recv(4096).decode())"
    if as_nobody("").returncode:
        pytest.skip("another user has no Python here")
    done = as_nobody(code, str(path))
    assert "the user alone" in json.loads(done.stdout)["error"], done.stderr


def as_nobody(code: str, *argv: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of Python as another user."""
    command = ["/usr/bin/env", "python3", "-I", "-S", "-c", code, *argv]
    return subprocess.run(
        command, user=65534, group=65534, extra_groups=[], capture_output=True, timeout=60, check=False
    )


def test_a_killed_zygote_leaves_its_instances(cluster: ZygoteCluster) -> None:
    """kill -9 of the zygote ends nothing, and the instance ends in order afterwards."""
    scheduler = cluster.write_scheduler()
    who = cluster.fork(scheduler)
    address = cluster.address(scheduler)
    cluster.process.kill()
    cluster.process.wait(10)
    with Client(address, timeout=60) as client:
        assert client.run_on_scheduler(os.getpid) == who["child"]["pid"]
    os.kill(who["pid"], signal.SIGTERM)
    end = cluster.end(scheduler)
    assert (end["cause"], end["code"], end["asked"]) == ("exited", 0, True)


def test_a_new_zygote_serves_after_a_killed_one(cluster: ZygoteCluster) -> None:
    """The stale socket of a killed zygote is no obstacle to the next."""
    cluster.ask({"op": "nonsense"})
    cluster.process.kill()
    cluster.process.wait(10)
    cluster.process = cluster.start()
    assert cluster.address(_forked(cluster, cluster.write_scheduler()))


def _forked(cluster: ZygoteCluster, instance: Path) -> Path:
    cluster.fork(instance)
    return instance


def test_a_killed_supervisor_takes_its_runtime_along(cluster: ZygoteCluster) -> None:
    """kill -9 of a supervisor ends the scheduler that it started."""
    scheduler = cluster.write_scheduler()
    who = cluster.fork(scheduler)
    cluster.address(scheduler)
    kill(who["pid"])
    wait_for(lambda: gone(who["child"]["pid"]))
    assert not (scheduler / "end.json").exists()


def test_a_signals_end_is_told(cluster: ZygoteCluster) -> None:
    """A forked runtime that was killed is told of as a launched one: by the signal."""
    scheduler = cluster.write_scheduler()
    kill(cluster.fork(scheduler)["child"]["pid"])
    end = cluster.end(scheduler)
    assert (end["cause"], end["signal"], end["asked"]) == ("signal", signal.SIGKILL, False)


def test_an_exit_code_is_told(cluster: ZygoteCluster) -> None:
    """A forked runtime's exit code and last line are those of a launched one."""
    scheduler = cluster.write_scheduler(port=1, host="203.0.113.1")
    cluster.fork(scheduler)
    assert cluster.end(scheduler)["code"] == 1
    assert "the scheduler did not start" in "".join(log.read_text() for log in scheduler.glob("output.*.log"))


def test_a_working_directory_that_is_not_there_is_an_end_with_words(cluster: ZygoteCluster) -> None:
    """What can't be started ends as failed_to_start, forked or launched."""
    scheduler = cluster.write_scheduler()
    launch = json.loads((scheduler / "launch.json").read_text())
    (scheduler / "launch.json").write_text(json.dumps({**launch, "cwd": "/no/such/place"}))
    assert cluster.ask({"directory": str(scheduler)})["pid"]
    end = cluster.end(scheduler)
    assert end["cause"] == "failed_to_start"
    assert "/no/such/place" in end["words"]


def test_an_instance_is_forked_once(cluster: ZygoteCluster) -> None:
    """A second request for the same instance starts nothing beside the first."""
    scheduler = cluster.write_scheduler()
    who = cluster.fork(scheduler)
    second = cluster.ask({"directory": str(scheduler)})["pid"]
    wait_for(lambda: gone(second))
    assert json.loads((scheduler / "supervisor.json").read_text()) == who
    assert not gone(who["child"]["pid"])


def test_the_link_arrives_under_the_number_that_the_spec_names(cluster: ZygoteCluster, tmp_path: Path) -> None:
    """A scheduler listens on the socket that was passed along with the request."""
    scheduler = cluster.write_scheduler(link_fd=77)
    path = cluster.folder / "link"
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(path))
        assert cluster.ask({"directory": str(scheduler), "descriptor": 77}, link.fileno())["pid"]
    cluster.address(scheduler)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        wait_for(lambda: connection.connect_ex(str(path)) == 0)
        connection.sendall(b"GET /v1/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in read_line(connection)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"directory": "/etc"}, "no instance of this cluster"),
        ({"op": "nonsense"}, "damaged"),
        ([], "damaged"),
    ],
)
def test_a_request_that_is_none_is_refused_with_words(running: Running, request_: Any, words: str) -> None:
    """Nothing is forked for a request that says something else than the contract, and the zygote goes on."""
    assert words in running.cluster.ask(request_)["error"]
    assert running.cluster.process.poll() is None


def test_what_is_not_the_runtime_is_refused(running: Running) -> None:
    """Only this cluster's runtime is forked, never another program."""
    instance = running.cluster.write("x-1", "scheduler", argv=["/bin/sh", "-c", "true"])
    assert "runtime alone" in running.cluster.ask({"directory": str(instance)})["error"]
    assert not (instance / "lock").exists()


def test_a_second_zygote_of_a_cluster_ends_at_once(running: Running) -> None:
    """One serves a cluster; another exits 17."""
    assert running.cluster.start().wait(60) == 17


def test_it_ends_when_told(cluster: ZygoteCluster) -> None:
    """The request to exit ends it with 0, and takes the socket away."""
    assert cluster.ask({"op": "exit"})["pid"] == cluster.process.pid
    assert cluster.process.wait(60) == 0
    assert not (cluster.directory / "zygote.sock").exists()


def test_it_ends_when_its_directory_is_gone(cluster: ZygoteCluster) -> None:
    """A zygote whose cluster was forgotten ends by itself."""
    cluster.ask({"op": "nonsense"})
    cluster.directory.rename(cluster.folder / "elsewhere")
    assert cluster.process.wait(60) == 0


def test_a_long_path_is_no_obstacle() -> None:
    """A cluster's directory may be longer than a unix socket's path."""
    with ZygoteCluster("/".join(["quite-a-long-name"] * 8)) as cluster:
        assert len(str(cluster.directory)) > 108
        assert "error" in cluster.ask({"op": "nonsense"})


def test_the_owners_configuration_decides_what_stands_before_imports(tmp_path: Path) -> None:
    """What Dask's configuration says to workers replaces the launcher's guess, in the environment from the start."""
    text = "distributed: {nanny: {pre-spawn-environ: {OMP_NUM_THREADS: 3}}}\n"
    (tmp_path / "dask.yaml").write_text(text)
    with ZygoteCluster(DASK_CONFIG=str(tmp_path)) as cluster:
        cluster.connect().close()
        environ = Path(f"/proc/{cluster.process.pid}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=3" in environ
