"""Dask's pages on a unix socket, below a prefix; runs on every release of distributed that is supported."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hub_cluster import PATIENCE, a_client, a_hub

from daskd.runtime.scheduler import sockets_of
from daskd.runtime.scheduler_hub import Hub
from daskd.runtime.sockets import listening, received
from daskd.runtime.spec import SpecError, parse_spec
from daskd.runtime.state import http_address

PREFIX = "/clusters/caaaaaaaaaaaaaaaaaaa"


@contextmanager
def bound(name: str = "http") -> Iterator[tuple[Path, socket.socket]]:
    """A unix socket that is bound and not listened on, as the daemon hands it over."""
    folder = Path(tempfile.mkdtemp(prefix="dkp-", dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / name))
        try:
            yield folder / name, sock
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def a_hub_with_pages() -> AsyncIterator[tuple[Hub, Path]]:
    """A hub whose dashboard is on a unix socket."""
    with bound() as (path, sock):
        http = listening(os.dup(sock.fileno()))
        async with a_hub(serve_http=True, dashboard=True, http_socket=http, http_prefix=PREFIX) as hub:
            yield hub, path
            hub.scheduler.http_server.stop()
            await hub.scheduler.http_server.close_all_connections()


async def ask(path: Path, target: str, *headers: str) -> tuple[int, str, asyncio.StreamReader, asyncio.StreamWriter]:
    """Status and head of the answer to a GET, and the connection behind it."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    lines = [f"GET {target} HTTP/1.1", "Host: daskd", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode()
    return int(head.split(" ")[1]), head, reader, writer


async def page(path: Path, target: str) -> tuple[int, str]:
    """Status and body."""
    status, _, reader, writer = await ask(path, target, "Connection: close")
    body = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    return status, body.decode("utf-8", "replace")


async def test_pages_links_and_static_files_are_below_the_prefix():
    """Every link of the status page, scripts and styles too, leads to what is there, and nothing lies outside."""
    async with a_hub_with_pages() as (_, path):
        status, html = await page(path, f"{PREFIX}/status")
        assert status == 200
        links = re.findall(r"(?:href|src)=\"([^\"#]+)\"", html)
        own = [link for link in links if not re.match(r"[a-z]+:", link)]
        assert any("static/js/bokeh" in link for link in own)
        assert "workers" in own
        for link in own:
            target = link if link.startswith("/") else f"{PREFIX}/{link}"
            assert target.startswith(PREFIX), link
            if link != "info":  # it redirects
                assert (await page(path, target))[0] == 200, link
        for elsewhere in ("/status", "/health", "/metrics", "/info/main/workers.html"):
            assert (await page(path, elsewhere))[0] == 404


async def test_a_page_is_live_over_its_websocket():
    """The status page's own token opens its websocket, whatever origin a proxy leaves out, and Bokeh greets."""
    async with a_hub_with_pages() as (_, path):
        _, html = await page(path, f"{PREFIX}/status")
        found = re.search(r'"token":"([^"]+)"', html)
        assert found is not None
        status, head, reader, writer = await ask(
            path,
            f"{PREFIX}/status/ws",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Protocol: bokeh, {found[1]}",
        )
        assert status == 101, head
        greeting = await asyncio.wait_for(reader.readexactly(10), PATIENCE)
        writer.close()
        assert greeting[0] == 0x81  # a whole text frame: the first of an ACK


async def test_nothing_of_it_is_on_tcp_or_told_as_if_it_were():
    """The one TCP port is Dask's own; neither the link's state nor a client's repr names a dashboard's port."""
    async with a_hub_with_pages() as (hub, _), a_client(hub) as client:
        inodes = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}
        rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
        listens = {
            int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
        }
        assert listens == {int(hub.scheduler.address.rpartition(":")[2])}
        assert http_address(hub.scheduler) is None
        assert hub.state_document()["dashboard"] is None
        assert hub.scheduler.identity()["services"] == {"dashboard": 0}
        assert client.id in client._repr_html_()


def _is_open(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def spec(**fields: Any) -> dict[str, Any]:
    """A scheduler's `spec.json`."""
    return {
        "version": 1,
        "role": "scheduler",
        "cluster": "c",
        "cluster_name": "etl",
        "instance": "s",
        "runtime_version": "0.1.0",
        "host": "127.0.0.1",
        "port": 0,
        "held": {"seconds": 1, "memory_share": 0.5},
        "orphan_timeout": 60,
        **fields,
    }


def test_two_sockets_come_over_one_descriptor():
    """Link and dashboard are received in their order from the socket that `sockets_fd` names, its other end closed."""
    with bound("a") as (first, one), bound("b") as (second, two):
        sender, carrier = socket.socketpair()
        with sender:
            socket.send_fds(sender, [b"\n"], [one.fileno(), two.fileno()])
        parsed = parse_spec(spec(sockets_fd=carrier.detach(), dashboard_prefix=PREFIX), "scheduler")
        link, dashboard = sockets_of(parsed)
        assert link is not None
        assert dashboard is not None
        for descriptor, path in ((link, first), (dashboard, second)):
            with listening(descriptor), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))


def test_sockets_that_did_not_come_are_told():
    """A carrier without two descriptors is an error in words."""
    sender, carrier = socket.socketpair()
    sender.send(b"\n")
    sender.close()
    with pytest.raises(OSError, match="2 sockets were to come"):
        received(carrier.detach(), 2)


def test_a_spec_of_an_older_daemon_is_understood():
    """Without the new fields a spec means what it did; halves of them are refused."""
    old = parse_spec(spec(link_fd=None, dashboard={"host": "127.0.0.1", "port": 0}), "scheduler")
    assert (old.sockets_fd, old.dashboard_prefix, old.has_pages) == (None, None, True)
    assert sockets_of(old) == (None, None)
    with pytest.raises(SpecError, match="go together"):
        parse_spec(spec(dashboard_prefix=PREFIX), "scheduler")
