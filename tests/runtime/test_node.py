"""The node's promises, kept by real processes: a distributed Scheduler, a node, its workers."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Client
from distributed.security import Security

RUNTIME = Path(__file__).parents[2] / "daskd" / "runtime"

SCHEDULER = """
import asyncio, json, os, sys
from pathlib import Path
from distributed import Scheduler
from distributed.security import Security

here, port, tls = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])

def note(kind, message):
    with open(here / "events", "a") as file:
        file.write(json.dumps([kind, message]) + chr(10))

async def daskd_join(**message):
    note("join", message)
    return json.loads((here / "answer").read_text())

async def daskd_node_event(**message):
    note("event", message)

async def main():
    security = Security(require_encryption=True, tls_ca_file=tls["ca"], tls_scheduler_cert=tls["cert"],
        tls_scheduler_key=tls["key"]) if tls else None
    protocol = "tls" if tls else "tcp"
    scheduler = Scheduler(host="127.0.0.1", port=port, protocol=protocol, security=security,
        dashboard_address="127.0.0.1:0")
    scheduler.handlers.update(daskd_join=daskd_join, daskd_node_event=daskd_node_event)
    async with scheduler:
        (here / "address.partial").write_text(scheduler.address)
        os.replace(here / "address.partial", here / "address")
        await scheduler.finished()

if __name__ == "__main__":
    asyncio.run(main())
"""


def wait_for(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """What `condition` gives once it is true; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("never came true")


def living(mark: str) -> list[psutil.Process]:
    """Living processes with `mark` in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if mark.encode() in environ and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Cluster:
    """A scheduler's process and a node's, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.instance = directory / "i-1"
        self.instance.mkdir()
        shutil.copytree(RUNTIME, directory / "runtime" / "daskd_runtime")
        (directory / "scheduler.py").write_text(SCHEDULER)
        self.answer({"result": "ok"})
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(directory / "runtime"),
            "DASKD_INSTANCE": str(self.instance),
            "SPT_NOENV": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self.node: subprocess.Popen[bytes]

    @property
    def mark(self) -> str:
        return f"DASKD_INSTANCE={self.instance}"

    def answer(self, answer: dict[str, str]) -> None:
        (self.directory / "answer").write_text(json.dumps(answer))

    def _popen(self, argv: list[str], log: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            process = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_scheduler(self, port: int = 0, tls: dict[str, str] | None = None) -> str:
        (self.directory / "address").unlink(missing_ok=True)
        argv = [sys.executable, "scheduler.py", str(self.directory), str(port), json.dumps(tls)]
        env = {key: value for key, value in self.env.items() if key != "DASKD_INSTANCE"}
        self.scheduler = self._popen(argv, "scheduler.log", env)
        address = self.directory / "address"
        return str(wait_for(lambda: address.exists() and address.read_text()))

    def write_spec(self, **changes: Any) -> None:
        spec: dict[str, Any] = {
            "version": 1,
            "role": "node",
            "cluster": "c-1",
            "cluster_name": "etl",
            "instance": "i-1",
            "incarnation": 0,
            "runtime_version": "0.1.0",
            "group": "default",
            "scheduler_report": None,
            "scheduler": None,
            "host": "127.0.0.1",
            "tls": None,
            "workers": [{"name": "default-0"}, {"name": "default-1"}],
            "nthreads": 1,
            "memory_limit": 0,
            "resources": {},
            "local_directory": str(self.directory / "scratch"),
            "death_timeout": 30,
            "join_timeout": 30,
            "dashboard": False,
        }
        (self.instance / "spec.json").write_text(json.dumps({**spec, **changes}))

    def start_node(self, *before: str, python: tuple[str, ...] = (sys.executable,), **changes: Any) -> None:
        self.write_spec(**changes)
        argv = [*before, *python, "-m", "daskd_runtime", "node", str(self.instance)]
        self.node = self._popen(argv, "node.log", self.env)

    def start(self, **changes: Any) -> str:
        """Start both, and wait until the workers run."""
        address = self.start_scheduler()
        self.start_node(scheduler=address, **changes)
        names = [worker["name"] for worker in changes.get("workers", [{"name": "-0"}, {"name": "-1"}])]
        wait_for(lambda: len(self.told("worker-started")) == len(names))
        return address

    def notes(self, kind: str) -> list[dict[str, Any]]:
        events = self.directory / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        return [message for noted, message in map(json.loads, lines) if noted == kind]

    def told(self, event: str) -> list[str]:
        return [message["words"] for message in self.notes("event") if message["event"] == event]

    def report(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.instance / "report.json").read_text()))
        except FileNotFoundError:
            return {}

    def log(self) -> str:
        return (self.directory / "node.log").read_text()

    def end_of_node(self, seconds: float = 60.0) -> tuple[int, str]:
        """The node's exit code and its log's last line."""
        code = self.node.wait(seconds)
        return code, self.log().splitlines()[-1]

    def forkserver(self) -> psutil.Process:
        children = psutil.Process(self.node.pid).children()
        [found] = [child for child in children if "forkserver" in " ".join(child.cmdline())]
        return found

    def clean(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        for left in living(self.mark):
            with contextlib.suppress(psutil.Error):
                left.kill()


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
        wait_for(
            lambda: (now := worker_pids(client)).get("default-0") != after["default-0"] and len(now) == 2
        )


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
    assert (
        (cluster.instance / "output.1.log").read_text().endswith("F daskd: ends with code 0, told to end\n")
    )
    assert not living(cluster.mark)


def test_killed_supervisor_leaves_no_node_and_no_worker(cluster: Cluster) -> None:
    """kill -9 of the supervisor ends the node and its workers."""
    supervisor = start_supervised(cluster)
    supervisor.kill()
    supervisor.wait(10)
    wait_for(lambda: not living(cluster.mark))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:1", "refused"),
        ("tcp://no-such-host.invalid:8786", "no host no-such-host.invalid"),
        ("gopher://x", "gopher"),
    ],
)
def test_unreachable_scheduler_is_told_apart(cluster: Cluster, address: str, words: str) -> None:
    """Why the scheduler is not reached stands in the report and in the log's last line, with code 82."""
    cluster.start_node(scheduler=address, join_timeout=2)
    assert words in wait_for(lambda: cluster.report().get("failure"))
    code, line = cluster.end_of_node()
    assert code == 82
    assert words in line
    assert "82" in line
    assert cluster.report()["phase"] == "failed"


def test_silent_scheduler_is_told_apart(cluster: Cluster) -> None:
    """An address that accepts connections and says nothing is told as that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        cluster.start_node(scheduler=address, join_timeout=1)
        code, line = cluster.end_of_node()
    assert code == 82
    assert "silent" in line


def test_missing_route_is_told_apart(cluster: Cluster) -> None:
    """A scheduler in a network that this machine has no way to is told as that."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs the right to make a network namespace")
    cluster.start_node("unshare", "-n", scheduler="tcp://10.0.0.1:8786", join_timeout=1)
    code, line = cluster.end_of_node()
    assert code == 82
    assert "no route" in line


def make_certificates(directory: Path, name: str) -> dict[str, str]:
    """A certificate authority and one certificate by it, as files."""
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def build(
        subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, is_ca: bool
    ) -> x509.CertificateBuilder:
        common = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(common[0])
            .issuer_name(common[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = build(f"{name}-ca", f"{name}-ca", ca_key, True).sign(ca_key, hashes.SHA256())
    cert = build(name, f"{name}-ca", key, False).sign(ca_key, hashes.SHA256())
    paths = {part: directory / f"{name}-{part}.pem" for part in ("ca", "cert", "key")}
    paths["ca"].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths["cert"].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    paths["key"].write_bytes(text)
    return {part: str(path) for part, path in paths.items()}


def test_tls_is_used_by_workers_and_their_clients(cluster: Cluster) -> None:
    """With certificates everything speaks TLS, clients inside tasks too."""
    tls = make_certificates(cluster.directory, "ours")
    address = cluster.start_scheduler(tls=tls)
    cluster.start_node(scheduler=address, tls=tls)
    wait_for(lambda: len(cluster.told("worker-started")) == 2)
    security = Security(
        require_encryption=True, tls_ca_file=tls["ca"], tls_client_cert=tls["cert"], tls_client_key=tls["key"]
    )
    code = "from distributed import worker_client\ndef nested():\n"
    code += "    with worker_client() as client: return client.submit(sum, [1, 2, 3]).result(timeout=30)\n"
    (cluster.directory / "nested_client.py").write_text(code)
    with Client(address, security=security) as client:
        client.upload_file(str(cluster.directory / "nested_client.py"))
        import_and_run = "__import__('nested_client').nested()"
        assert client.submit(eval, import_and_run).result(timeout=60) == 6
        assert all(worker.startswith("tls://") for worker in client.scheduler_info(n_workers=-1)["workers"])


def test_foreign_certificates_exit_84(cluster: Cluster) -> None:
    """A scheduler of another certificate authority is told as a failure of TLS, with code 84."""
    address = cluster.start_scheduler(tls=make_certificates(cluster.directory, "theirs"))
    cluster.start_node(scheduler=address, tls=make_certificates(cluster.directory, "ours"), join_timeout=1)
    code, line = cluster.end_of_node()
    assert code == 84
    assert "TLS" in line


def test_certificate_that_the_scheduler_refuses_exits_84(cluster: Cluster) -> None:
    """A node that trusts the scheduler but shows a foreign certificate is told the same."""
    theirs, ours = (make_certificates(cluster.directory, name) for name in ("theirs", "ours"))
    address = cluster.start_scheduler(tls=theirs)
    cluster.start_node(scheduler=address, tls={**ours, "ca": theirs["ca"]}, join_timeout=1)
    assert cluster.end_of_node()[0] == 84


def test_missing_certificates_exit_84(cluster: Cluster) -> None:
    """A certificate that was not delivered is told as such."""
    tls = {"ca": "/no/ca.pem", "cert": "/no/worker.pem", "key": "/no/worker.key"}
    cluster.start_node(scheduler="tls://127.0.0.1:1", tls=tls, join_timeout=1)
    code, line = cluster.end_of_node()
    assert code == 84
    assert "certificates can't be read" in line


def test_schedulers_report_is_waited_for(cluster: Cluster) -> None:
    """A node that is given a report's path waits until the scheduler says where it is."""
    path = cluster.directory / "scheduler-report.json"
    report = {"version": 1, "instance": "s-1", "phase": "starting", "address": None, "dashboard": None}
    cluster.start_node(scheduler_report=str(path))
    assert "has not reported yet" in wait_for(lambda: cluster.report().get("failure"))
    address = cluster.start_scheduler()
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**report, "phase": "running", "address": address, "failure": None}))
    partial.replace(path)
    wait_for(lambda: len(cluster.told("worker-started")) == 2)


def test_failed_schedulers_words_are_passed_on(cluster: Cluster) -> None:
    """When the scheduler's report tells of a failure the node ends with 82 and its words."""
    path = cluster.directory / "scheduler-report.json"
    report = {"version": 1, "instance": "s-1", "phase": "failed", "failure": "port 8786 is taken"}
    path.write_text(json.dumps(report))
    cluster.start_node(scheduler_report=str(path), join_timeout=1)
    code, line = cluster.end_of_node()
    assert code == 82
    assert "port 8786 is taken" in line


def test_python_without_distributed_exits_81(cluster: Cluster) -> None:
    """A Python that lacks distributed is told as such, with its path and the mend."""
    cluster.start_node(scheduler="tcp://127.0.0.1:1", python=(sys.executable, "-S"))
    code, line = cluster.end_of_node()
    assert code == 81
    assert sys.executable in line
    assert "No module named 'distributed'" in line
    assert "install distributed" in line
    assert cluster.report()["phase"] == "failed"


def test_distributed_that_fails_to_import_exits_81(cluster: Cluster) -> None:
    """A distributed whose import raises is told with what it raised."""
    (cluster.directory / "runtime" / "distributed.py").write_text("raise RuntimeError('numpy is too old')")
    cluster.start_node(scheduler="tcp://127.0.0.1:1")
    code, line = cluster.end_of_node()
    assert code == 81
    assert "numpy is too old" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"role": "scheduler"}, "is for a scheduler"),
        ({"workers": []}, "at least one worker"),
        ({"workers": [{"name": "a"}, {"name": "a"}]}, "each once"),
        ({"nthreads": 0}, "'nthreads' must be at least 1"),
        ({"nthreads": True}, "'nthreads' must be a whole number"),
        ({"memory_limit": "1GiB"}, "'memory_limit' must be a whole number"),
        ({"tls": {"ca": "x", "cert": "y"}}, "lacks 'key'"),
        ({"scheduler": None}, "one of 'scheduler_report' and 'scheduler'"),
        ({"resources": {"GPU": -1}}, "'GPU' must be zero or more"),
    ],
)
def test_damaged_spec_exits_80(cluster: Cluster, changes: dict[str, Any], words: str) -> None:
    """A spec that breaks the contract starts nothing, and the log says what is wrong where."""
    cluster.start_node(**{"scheduler": "tcp://127.0.0.1:1", **changes})
    code, line = cluster.end_of_node()
    assert code == 80
    assert words in line
    assert "spec.json" in line


def test_missing_spec_exits_80(cluster: Cluster) -> None:
    """A spec that is not there is damaged too."""
    argv = [sys.executable, "-m", "daskd_runtime", "node", str(cluster.instance)]
    done = subprocess.run(argv, env=cluster.env, capture_output=True, text=True, cwd=cluster.directory)
    assert done.returncode == 80
    assert "spec.json can't be read" in done.stderr.splitlines()[-1]
