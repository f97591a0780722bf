"""What a hostile scheduler, a stranger, or a viewer whose right was taken back can do through the proxy: nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from daskd.model.identity import Identity
from daskd.web import relay, upstream

from ..control.hostile_server import Reply, drips, http, says, serving, silent, streams
from .browsing import PATIENCE_S
from .proxied import OTHER, OWNER_UID, VIEWER, Proxied, a_proxy


@pytest.fixture
async def proxied() -> AsyncIterator[Proxied]:
    """A proxy before a socket where nobody listens yet; in a short folder, for a socket's path is bounded."""
    with tempfile.TemporaryDirectory(prefix="dkw-", dir="/tmp") as folder:
        async with a_proxy(Path(folder)) as made:
            yield made


def page(*headers: str, body: bytes = b"hello", status: str = "200 OK") -> Reply:
    """Answers with these headers."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return says("\r\n".join(lines).encode() + body)


# -- who may ----------------------------------------------------------------------------------------


async def test_a_session_for_another_cluster_finds_nothing(proxied: Proxied) -> None:
    """Who has a session for a cluster of one's own sees nothing of this one: 404, and nobody is asked."""
    browser = proxied.browser(OTHER, "caaaaaaaaaaaaaaaaaaa")
    assert (await proxied.get("/status", browser)).status == 404


async def test_a_right_that_was_taken_back_ends_what_a_session_sees(proxied: Proxied) -> None:
    """A viewer sees the dashboard while the cluster is shared, and 403 with words from the moment it is not."""
    await proxied.grant(VIEWER)
    browser = proxied.browser(OTHER)
    with serving(proxied.path, page()):
        assert (await proxied.get("/status", browser)).body == "hello"
        await proxied.grant()
        refused = await proxied.get("/status", browser)
    assert (refused.status, "ask its owner" in refused.body) == (403, True)


def upgraded(greeting: bytes) -> Reply:
    """Agrees to a websocket, says that, and goes on until the other side hangs up."""

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(head + b"Sec-WebSocket-Accept: x\r\nSet-Cookie: a=b\r\n\r\n" + greeting)
        connection.settimeout(0.05)
        while not over.is_set():
            with suppress(TimeoutError):
                if not (data := connection.recv(4096)):
                    return
                connection.sendall(data)

    return reply


async def test_a_right_that_was_taken_back_cuts_off_a_live_page(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A websocket that is open when the share ends is closed soon after."""
    monkeypatch.setattr(relay, "RECHECK_S", 0.05)
    await proxied.grant(VIEWER)
    browser = proxied.browser(OTHER)
    with serving(proxied.path, upgraded(b"first")):
        status, live = await asyncio.to_thread(browser.websocket, proxied.prefix + "/ws", "bokeh")
        with live:
            assert status == 101
            assert await asyncio.to_thread(live.recv, 5) == b"first"
            live.sendall(b"echo")
            assert await asyncio.to_thread(live.recv, 4) == b"echo"
            await proxied.grant()
            assert await asyncio.to_thread(_to_the_end, live) == b""


def _to_the_end(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE_S)
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""


async def test_a_page_of_another_site_gets_no_websocket(proxied: Proxied) -> None:
    """Where a browser says that another origin's page asks, cookie or not, the answer is 403."""
    browser = proxied.browser()
    with serving(proxied.path, upgraded(b"")):
        for origin, expected in (("http://evil.example", 403), ("null", 403), (browser.origin, 101)):
            status, live = await asyncio.to_thread(browser.websocket, proxied.prefix + "/ws", "bokeh", Origin=origin)
            live.close()
            assert status == expected, origin


async def test_dashboards_are_looked_at_and_no_more(proxied: Proxied) -> None:
    """Nothing but GET and HEAD passes, and no service worker: 405, 403; the cluster is not asked."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await proxied.get("/api/v1/retire_workers", method=method)).status == 405
    assert (await proxied.get("/sw.js", headers={"Service-Worker": "script"})).status == 403


def _listen_as(listener: socket.socket, uid: int) -> None:
    """Have that user call `listen`, which is what the kernel tells of the socket from then on."""
    if OWNER_UID != 0:
        listener.listen()  # another user than the cluster's owner already
    elif (child := os.fork()) == 0:
        os.setuid(uid)
        listener.listen()
        os._exit(0)
    else:
        assert os.waitpid(child, 0)[1] == 0


async def test_another_users_process_in_the_schedulers_place_is_not_spoken_to() -> None:
    """A socket on which somebody else than the owner listens gets not a byte: 502."""
    owner = Identity(f"uid:{OWNER_UID + 1}", OWNER_UID + 1, OWNER_UID + 1, "/")
    with tempfile.TemporaryDirectory(prefix="dkw-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        async with a_proxy(Path(folder), owner_uid=owner.uid) as proxied:
            listener.bind(str(proxied.path))
            _listen_as(listener, OTHER.uid)
            assert (await proxied.get("/status", proxied.browser(owner))).status == 502
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b""


# -- what passes ------------------------------------------------------------------------------------


async def test_the_cluster_learns_neither_cookies_nor_tokens_nor_who_looks(proxied: Proxied) -> None:
    """Of a request only what content needs goes on: no cookie, no Authorization, no address, no browser's name."""
    seen: list[bytes] = []

    def recorded(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(http(b"x"))

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(proxied.path))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            seen.append(connection.recv(1 << 16))
            recorded(connection, threading.Event(), "")

    thread = threading.Thread(target=answer)
    thread.start()
    headers = {"Authorization": "Bearer t", "X-Forwarded-For": "10.0.0.1", "User-Agent": "me", "Accept": "text/html"}
    assert (await proxied.get("/status?a=b", headers=headers)).status == 200
    thread.join(PATIENCE_S)
    listener.close()
    lines = seen[0].decode().lower().split("\r\n")
    assert lines[0] == f"get {proxied.prefix}/status?a=b http/1.1"
    names = {line.partition(":")[0] for line in lines[1:] if line}
    assert names == {"host", "connection", "accept", "accept-encoding"}


async def test_an_answer_sets_nothing_on_the_origin(proxied: Proxied) -> None:
    """Cookies, policies, and what else acts beyond a page are dropped; every answer bears our policy instead."""
    hostile = (
        "Set-Cookie: daskd-dashboard=x; Path=/",
        "Content-Security-Policy: default-src *",
        "Access-Control-Allow-Origin: *",
        "Service-Worker-Allowed: /",
        "Clear-Site-Data: *",
        "Strict-Transport-Security: max-age=1",
        "Refresh: 0; url=http://evil.example",
        "Cache-Control: public",
        "Content-Type: text/html",
    )
    with serving(proxied.path, page(*hostile)):
        found = await proxied.get("/status")
    kept = {name: found.headers[name] for name in ("content-type", "cache-control", "x-frame-options")}
    assert kept == {"content-type": "text/html", "cache-control": "private, no-cache", "x-frame-options": "DENY"}
    assert f"connect-src {proxied.web.links.origin('')}{proxied.prefix}/" in found.headers["content-security-policy"]
    dropped = {line.partition(":")[0].lower() for line in hostile} - {*kept, "content-security-policy"}
    assert not dropped & set(found.headers)


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example/",
        "//evil.example/",
        "/",
        "/clusters/caaaaaaaaaaaaaaaaaaa/status",
        "../../caaaaaaaaaaaaaaaaaaa/status",
        "%2e%2e/%2e%2e/caaaaaaaaaaaaaaaaaaa/status",
        "javascript:alert(1)",
        "\\\\evil.example",
        "status\\..\\..",
    ],
)
async def test_a_redirection_elsewhere_is_refused(proxied: Proxied, location: str) -> None:
    """Sent to another site or another cluster, a browser is not: 502."""
    with serving(proxied.path, page(f"Location: {location}", status="302 Found")):
        assert (await proxied.get("/a/status")).status == 502


async def test_a_redirection_within_the_dashboard_is_made_whole(proxied: Proxied) -> None:
    """A relative one leads below the cluster's path."""
    with serving(proxied.path, page("Location: main/workers.html?a=b", status="302 Found")):
        found = await proxied.get("/info/x")
    assert (found.status, found.headers["location"]) == (302, f"{proxied.prefix}/info/main/workers.html?a=b")


# -- what a hostile answer does ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        says(b""),
        says(b"SSH-2.0-OpenSSH_9.6\r\n"),
        says(b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n"),
        streams(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 1 << 26),
        says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000),
        says(b"HTTP/1.1 200 OK\r\n\r\nwithout an end"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
)
async def test_an_answer_that_is_none_is_told_as_such(proxied: Proxied, reply: Reply) -> None:
    """Garbage, heads without end, framings that could be read in two ways: 502, and the next request goes well."""
    with serving(proxied.path, reply):
        assert (await proxied.get("/status")).status == 502
    proxied.path.unlink()
    with serving(proxied.path, page()):
        assert (await proxied.get("/status")).status == 200


async def test_nobody_on_the_socket_is_told(proxied: Proxied) -> None:
    """Without a scheduler that listens the answer is 502 with words."""
    found = await proxied.get("/status")
    assert (found.status, "be reached" in found.body) == (502, True)


@pytest.mark.parametrize("reply", [silent, drips(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000)])
async def test_an_answer_that_does_not_come_is_waited_for_so_long(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    """Silence, and a head that comes a byte at a time, end in 502."""
    monkeypatch.setattr(upstream, "HEAD_S", 0.5)
    with serving(proxied.path, reply):
        assert (await proxied.get("/status")).status == 502


async def test_a_body_that_stops_is_cut_off(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body shorter than it was said to be is no whole answer: the browser's connection breaks."""
    monkeypatch.setattr(upstream, "QUIET_S", 0.2)

    def stops(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        over.wait()

    for reply in (stops, says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")):
        proxied.path.unlink(missing_ok=True)
        with serving(proxied.path, reply), pytest.raises((OSError, Exception), match=r"IncompleteRead|reset|closed"):
            await proxied.get("/status")


_FLOOD = 32 << 20


async def test_a_flood_leaves_the_daemon_to_others(proxied: Proxied) -> None:
    """While two browsers take floods as fast as they come, a page's and a websocket's, others are served whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _FLOOD
    flood = streams(head, b"x", _FLOOD)
    live_flood = streams(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", b"x", 1 << 40)

    def by_target(connection: socket.socket, over: threading.Event, target: str) -> None:
        reply = {"flood": flood, "ws": live_flood}.get(target.rpartition("/")[2], says(http(b"hello")))
        reply(connection, over, target)

    browser = proxied.browser()
    with serving(proxied.path, by_target):
        status, live = await asyncio.to_thread(browser.websocket, proxied.prefix + "/ws", "bokeh")
        assert status == 101
        taken: list[int] = []
        drain = threading.Thread(target=_take_all, args=(live, taken))
        drain.start()
        flooded = asyncio.create_task(proxied.get("/flood", browser))
        for _ in range(30):
            assert (await proxied.get("/status", browser)).body == "hello"
        assert len((await flooded).body) == _FLOOD
        live.shutdown(socket.SHUT_RDWR)
        await asyncio.to_thread(drain.join, PATIENCE_S)
        live.close()
    assert sum(taken) > 1 << 20


def _take_all(connection: socket.socket, taken: list[int]) -> None:
    with suppress(OSError):
        while n := len(connection.recv(1 << 16)):
            taken.append(n)


async def test_an_owner_has_so_many_pages_at_once(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound of one user the answer is 429, and what ended makes room."""
    monkeypatch.setattr("daskd.web.dashboards.MOST_PER_USER", 2)
    browser = proxied.browser()
    with serving(proxied.path, upgraded(b"hi")):
        lives = []
        for _ in range(2):
            status, live = await asyncio.to_thread(browser.websocket, proxied.prefix + "/ws", "bokeh")
            assert status == 101
            lives.append(live)
        assert (await proxied.get("/status", browser)).status == 429
        for live in lives:
            live.close()

        async def has_room() -> bool:
            return (await proxied.get("/status", browser)).status != 429

        for _ in range(600):
            if await has_room():
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("what ended made no room")


async def test_a_connection_that_says_nothing_is_let_go(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silence nor half a request keeps a connection."""
    monkeypatch.setattr("daskd.web.browser.REQUEST_S", 0.2)
    address = proxied.browser().address
    for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
        with socket.create_connection(address, PATIENCE_S) as connection:
            connection.sendall(begun)
            assert await asyncio.to_thread(connection.recv, 1) == b""


async def test_answers_to_strange_requests_are_words(proxied: Proxied) -> None:
    """Paths that climb, other places, bodies: 404 or nothing at all, and never another cluster."""
    browser = proxied.browser()
    for path in ("/../x", "/%2e%2e/x", "/a%2f..%2fb", "/a\\b", "//evil/../.."):
        assert (await proxied.get(path, browser)).status == 404, path
    for path in ("/", "/metrics", "/clusters/", "/clusters/nonsense/status"):
        assert (await asyncio.to_thread(browser.get, path)).status == 404, path
