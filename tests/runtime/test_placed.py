"""A scheduler that a driver placed: who is let in at its link, who claims it, and what becomes of one unclaimed."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hub_cluster import PATIENCE, a_hub, until

from daskd.control.link import Link, LinkError, secured
from daskd.drivers.streams import tcp
from daskd.runtime import placed
from daskd.runtime.exits import Ended, ExitCode
from daskd.runtime.scheduler_hub import Hub
from daskd.runtime.spec import Placed, SchedulerSpec, SpecError, TLSFiles, parse_spec
from daskd.security.certificates import Credentials, issue
from daskd.security.link_tls import client_context, scheduler_name

CLUSTER, INSTANCE = "c-1", "s-1"
PREFIX = f"/clusters/{CLUSTER}"
ANY = Placed(0, 0, 600.0)


def files_of(credentials: Credentials, folder: Path) -> TLSFiles:
    """What the scheduler is given, in files."""
    texts = {"ca": credentials.ca, "cert": credentials.certificates["scheduler"], "key": credentials.keys["scheduler"]}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(text)
    return TLSFiles(*(str(folder / f"{name}.pem") for name in texts))


def spec_of(credentials: Credentials, folder: Path, prefix: str | None = None) -> SchedulerSpec:
    """What it is told."""
    return SchedulerSpec(
        cluster=CLUSTER,
        cluster_name="etl",
        instance=INSTANCE,
        runtime_version="0.1.0",
        link_fd=None,
        host="127.0.0.1",
        port=0,
        tls=files_of(credentials, folder),
        dashboard=None,
        held_seconds=60.0,
        held_memory_share=0.5,
        orphan_timeout=3600.0,
        dashboard_prefix=prefix,
        placed=ANY,
    )


@asynccontextmanager
async def a_placed_hub(folder: Path, credentials: Credentials) -> AsyncIterator[tuple[Hub, int]]:
    """A hub whose link and pages are served by TLS, and the port."""
    spec = spec_of(credentials, folder, PREFIX)
    async with a_hub(serve_http=True, dashboard=True, http_within=True, http_prefix=PREFIX) as hub:
        hub.roster.is_open = False
        sock = placed.bind("127.0.0.1", ANY)
        server = placed.serve(hub, spec, sock)
        yield hub, int(sock.getsockname()[1])
        server.stop()
        await server.close_all_connections()


def link_to(port: int, credentials: Credentials, instance: str = INSTANCE) -> Link:
    """The daemon's link."""
    dial = secured(partial(tcp, "127.0.0.1", port), client_context(credentials), scheduler_name(CLUSTER))
    return Link(dial, CLUSTER, instance, timeout=PATIENCE, is_claimed=True)


def shown(credentials: Credentials, role: str | None, folder: Path) -> ssl.SSLContext:
    """TLS of somebody with that role's certificate, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=credentials.ca)
    if role is not None:
        pem = folder / f"{role}.pem"
        pem.write_text(credentials.certificates[role] + credentials.keys[role])
        context.load_cert_chain(pem)
    return context


async def ask(port: int, target: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    """Status and body of the answer to a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: daskd\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.transport.abort()
    if not answer:
        raise ConnectionResetError("it was hung up")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def join(hub: Hub) -> str:
    """What a node is answered that asks to join."""
    told = hub.roster.join(instance="n", incarnation=0, group="default", workers=["w"], pid=1, host="h", versions={})
    return told["result"]


async def test_no_node_is_admitted_before_the_daemon_has_claimed_it(tmp_path: Path) -> None:
    """A node that asks is put off until the daemon's first word, and let in from then on."""
    credentials = issue(CLUSTER)
    async with a_placed_hub(tmp_path, credentials) as (hub, port):
        assert join(hub) == "unclaimed"
        assert (await link_to(port, credentials).hello()).instance == INSTANCE
        assert join(hub) == "ok"
        assert (await link_to(port, credentials).hello()).instance == INSTANCE
        assert (await link_to(port, credentials).state(None, 0)).phase == "running"


async def test_another_schedulers_claim_is_refused(tmp_path: Path) -> None:
    """Who means another instance is told so, and no node is let in for it."""
    credentials = issue(CLUSTER)
    async with a_placed_hub(tmp_path, credentials) as (hub, port):
        with pytest.raises(LinkError, match="another cluster's runtime"):
            await link_to(port, credentials, "s-2").hello()
        with pytest.raises(ValueError, match="s-2 is claimed"):
            hub.claim("s-2")
        assert join(hub) == "unclaimed"


@pytest.mark.parametrize("role", ["client", "worker", "scheduler"])
async def test_who_is_of_the_cluster_and_not_the_daemon_is_refused(role: str, tmp_path: Path) -> None:
    """Neither the calls of the link nor the pages are for the cluster's own processes and clients."""
    credentials = issue(CLUSTER)
    async with a_placed_hub(tmp_path, credentials) as (hub, port):
        context = shown(credentials, role, tmp_path)
        for target in ("/v1/hello", "/v1/state", f"{PREFIX}/status", "/other"):
            assert (await ask(port, target, context))[0] == 403
        assert not hub.roster.is_open


async def test_who_shows_no_certificate_of_the_cluster_is_not_answered(tmp_path: Path) -> None:
    """Without one, or with another cluster's daemon's, TLS goes no further."""
    credentials, others = issue(CLUSTER), issue("c-2")
    strange = shown(others, "daemon", tmp_path)
    strange.load_verify_locations(cadata=credentials.ca)
    async with a_placed_hub(tmp_path, credentials) as (_, port):
        for context in (shown(credentials, None, tmp_path), strange):
            with pytest.raises(OSError, match=r"alert|hung up|reset|unknown"):
                await ask(port, "/v1/hello", context)


async def test_the_dashboard_is_for_the_daemon_alone(tmp_path: Path) -> None:
    """Its pages lie below their prefix on the link's port, and nowhere else."""
    credentials = issue(CLUSTER)
    async with a_placed_hub(tmp_path, credentials) as (hub, port):
        context = shown(credentials, "daemon", tmp_path)
        status, body = await ask(port, f"{PREFIX}/status", context)
        assert (status, b"bokeh" in body) == (200, True)
        status, body = await ask(port, "/status", context)
        assert (status, b"no call" in body) == (404, True)
        assert hub.scheduler.identity()["services"]["dashboard"] == 0


async def test_one_that_nobody_claims_ends_itself(tmp_path: Path) -> None:
    """Its process ends as one that was given up does, and says why."""
    credentials = issue(CLUSTER)
    tls = files_of(credentials, tmp_path)
    spec = {
        "version": 1,
        "role": "scheduler",
        "cluster": CLUSTER,
        "cluster_name": "etl",
        "instance": INSTANCE,
        "runtime_version": "0.1.0",
        "host": "127.0.0.1",
        "port": 0,
        "tls": {"ca": tls.ca, "cert": tls.cert, "key": tls.key},
        "held": {"seconds": 60.0, "memory_share": 0.5},
        "orphan_timeout": 3600.0,
        "placed": {"first_port": 0, "last_port": 0, "claim_timeout": 0.1},
    }
    folder = tmp_path / INSTANCE
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daskd.runtime", "scheduler", str(folder), stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == ExitCode.FENCED
    assert b"no daemon claimed this scheduler within 0.1 s" in errors.splitlines()[-1]
    assert "no daemon claimed" in json.loads((folder / "report.json").read_text())["failure"]


async def test_a_claim_ends_the_wait() -> None:
    """Once it is claimed nothing ends it for want of that."""
    async with a_hub() as hub:
        hub.roster.is_open = False
        watch = asyncio.create_task(placed.watch_claim(hub, 3600.0))
        hub.claim(INSTANCE)
        await until(watch.done, "nothing is watched any more")
        watch.result()
        assert hub.scheduler.status.name == "running"


def test_ports_are_of_the_range_that_was_asked_for() -> None:
    """What is taken of a range is passed over, and a range without a free port is told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Ended, match=f"the ports {port} to {port}"):
            placed.bind("127.0.0.1", Placed(port, port, 1.0))
    with placed.bind("127.0.0.1", Placed(port, port, 1.0)) as bound:
        assert bound.getsockname()[1] == port
    assert placed.free_port("127.0.0.1", ANY) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"placed": {"first_port": 2, "last_port": 1, "claim_timeout": 1}},
        {"placed": {"first_port": 0, "last_port": 1, "claim_timeout": 1}},
        {"placed": {"first_port": 1, "last_port": 1 << 16, "claim_timeout": 1}},
        {"placed": {"first_port": 1, "last_port": 2}},
        {"tls": None},
        {"link_fd": 5},
        {"sockets_fd": 5, "dashboard_prefix": "/x"},
        {"dashboard": {"host": "127.0.0.1", "port": 0}},
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    """One that is placed has certificates, ports in order, and nothing that the daemon's machine alone could give."""
    good: dict[str, Any] = {
        "version": 1,
        "role": "scheduler",
        "cluster": "c",
        "cluster_name": "etl",
        "instance": "i",
        "runtime_version": "1",
        "link_fd": None,
        "host": "h",
        "port": 0,
        "tls": {"ca": "a", "cert": "b", "key": "c"},
        "dashboard": None,
        "dashboard_prefix": "/x",
        "held": {"seconds": 1, "memory_share": 0.5},
        "orphan_timeout": 1,
        "placed": {"first_port": 40000, "last_port": 40009, "claim_timeout": 600},
    }
    spec = parse_spec(good, "scheduler")
    assert isinstance(spec, SchedulerSpec)
    assert spec.placed == Placed(40000, 40009, 600.0)
    with pytest.raises(SpecError):
        parse_spec({**good, **fields}, "scheduler")
