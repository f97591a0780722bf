"""The node's promises about reaching its scheduler, and what it says when it can't."""

from __future__ import annotations

import datetime
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Client
from distributed.security import Security
from node_cluster import Cluster, wait_for


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.clean()


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

    def build(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, is_ca: bool) -> x509.CertificateBuilder:
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
