"""Prometheus' metrics: what they count, and what they don't tell."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daskd.config import Config
from daskd.control.census import Census
from daskd.measures import BUCKETS, Measures
from daskd.model.cluster import Phase
from daskd.model.errors import StateUnusable
from daskd.web.metrics import Metrics, Standing
from daskd.web.server import PageServer

from ..daemon_process import DaemonProcess, daemon_process, until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """All samples, as Prometheus itself would read them."""
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


async def rendered(measures: Measures, census: Census | None = None) -> Samples:
    """What is rendered of these."""

    async def look() -> Standing:
        return Standing(Counter({Phase.RUNNING: 2}), census or Census(Counter(), Counter(), 0), 7)

    return samples((await Metrics("1.2", measures, look).render()).decode())


async def test_clusters_workers_and_revision_are_gauges() -> None:
    """Every phase is there, also those without a cluster: a gap in a graph would mean something else."""
    census = Census(Counter(running=3), Counter({("node", "running"): 3}), 1)
    told = await rendered(Measures(), census)
    assert told["daskd_clusters", (("phase", "RUNNING"),)] == 2
    assert told["daskd_clusters", (("phase", "FAILED"),)] == 0
    assert told["daskd_workers", (("state", "running"),)] == 3
    assert told["daskd_instances", (("role", "node"), ("state", "running"))] == 3
    assert told["daskd_unreachable_schedulers", ()] == 1
    assert told["daskd_store_revision", ()] == 7
    assert told["daskd_build_info", (("version", "1.2"),)] == 1


async def test_states_that_users_code_made_up_are_one_series() -> None:
    """A scheduler can say anything of its workers, and must not make series without end."""
    told = await rendered(Measures(), Census(Counter({"x1": 1, "x2": 1}), Counter(), 0))
    assert told["daskd_workers", (("state", "other"),)] == 2


async def test_counts_and_durations_are_told() -> None:
    """A duration is in its bucket and all above; a failure is counted with its outcome."""
    measures = Measures()
    measures.count("rpcs", "GetCluster", "CLUSTER_NOT_FOUND")
    with measures.timed("reconcile"):
        pass
    measures.durations["reconcile", ()].add(BUCKETS[-1] + 1)
    told = await rendered(measures)
    assert told["daskd_rpcs_total", (("method", "GetCluster"), ("outcome", "CLUSTER_NOT_FOUND"))] == 1
    assert told["daskd_reconcile_duration_seconds_bucket", (("le", "30.0"),)] == 1
    assert told["daskd_reconcile_duration_seconds_bucket", (("le", "+Inf"),)] == 2
    assert told["daskd_reconcile_duration_seconds_count", ()] == 2
    assert told["daskd_link_failures_total", ()] == 0


async def page() -> bytes:
    """A page."""
    return b"hello"


async def broken() -> bytes:
    """A page that can't be had now."""
    raise StateUnusable("the disk is full")


async def exchange(port: int, request: bytes) -> bytes:
    """What the server answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /page HTTP/1.1", b"200"),
        (b"GET /page?x=1 HTTP/1.1", b"200"),
        (b"GET /other HTTP/1.1", b"404"),
        (b"POST /page HTTP/1.1", b"405"),
        (b"GET /broken HTTP/1.1", b"503"),
    ],
)
async def test_pages_are_served_by_path(request_line: bytes, status: bytes) -> None:
    """What there is, what there isn't, and what can't be had just now, in words."""
    server = PageServer("127.0.0.1:0", {"/page": ("text/plain", page), "/broken": ("text/plain", broken)})
    await server.start()
    try:
        assert server.port is not None
        answer = await exchange(server.port, request_line + b"\r\nHost: x\r\n\r\n")
        assert answer.split()[1] == status
        for nonsense in (b"nonsense\r\n\r\n", b"GET /page HTTP/1.1\r\nX: " + b"x" * 100_000, b""):
            await exchange(server.port, nonsense)
        assert (await exchange(server.port, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"hello")
    finally:
        await server.stop()


@pytest.mark.parametrize("address", ["0.0.0.0:9108", "192.0.2.1:9108", "localhost", "unix:relative", ":9108"])
def test_metrics_for_other_machines_are_refused(address: str) -> None:
    """They ask nobody who they are: loopback, or a unix socket."""
    with pytest.raises(ValueError, match="write"):
        Config.model_validate({"daemon": {"metrics": address}})


@pytest.fixture
def measured() -> Iterator[DaemonProcess]:
    """A daemon that serves metrics on a unix socket."""
    with daemon_process() as process:
        with process.config.open("a") as file:
            file.write(f'metrics = "unix:{process.folder}/metrics"\n')
        process.start()
        yield process


def scraped(daemon: DaemonProcess) -> str:
    """The page, over the daemon's socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(daemon.folder / "metrics"))
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2].decode()


@pytest.mark.real
def test_a_daemon_with_a_cluster_tells_of_it_and_names_nobody(measured: DaemonProcess) -> None:
    """Phases, workers, calls and passes are there; names of clusters and users are not."""

    argv = [sys.executable, "-m", "daskctl", "create", "secretive-name", "-n", "1"]
    subprocess.run(argv, env=measured.env, check=True, capture_output=True, timeout=120)
    running = ("daskd_workers", (("state", "running"),))
    until(lambda: samples(scraped(measured))[running] == 1, "the worker is counted")
    text = scraped(measured)
    told = samples(text)
    assert told["daskd_clusters", (("phase", "RUNNING"),)] == 1
    assert told["daskd_rpcs_total", (("method", "CreateCluster"), ("outcome", "OK"))] == 1
    assert told["daskd_reconcile_duration_seconds_count", ()] > 0
    assert "secretive-name" not in text
    assert "root" not in text
