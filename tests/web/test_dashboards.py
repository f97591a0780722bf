"""A real cluster's dashboard, through a real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess, until
from ..spine.cluster_processes import of_role, running_of
from .browsing import Browser, frame

Daskctl = Callable[..., Any]


def browser_of(link: str) -> Browser:
    """A browser for the origin of a link, that has been nowhere yet."""
    parts = urlsplit(link)
    return Browser(f"{parts.scheme}://{parts.netloc}")


@pytest.fixture
def cluster(daskctl: Daskctl) -> dict[str, Any]:
    """A running cluster."""
    return dict(daskctl("create", "etl", "-n", "1"))


def test_a_link_opens_a_live_dashboard_with_all_that_belongs_to_it(daskctl: Daskctl, cluster: dict[str, Any]) -> None:
    """Status page, its scripts and styles, redirections and its websocket come through the daemon, by one link."""
    link = daskctl("dashboard", "etl")["link"]
    browser, prefix = browser_of(link), f"/clusters/{cluster['uid']}"
    page = browser.open(link)
    assert (page.status, "<title>Dask" in page.body) == (200, True)
    own = [found for found in re.findall(r'(?:href|src)="([^"#]+)"', page.body) if not re.match(r"[a-z]+:", found)]
    assert any("static/js/bokeh" in found for found in own)
    for found in own:
        assert browser.get(urljoin(f"{prefix}/status", found)).status in (200, 302), found
    moved = browser.get(f"{prefix}/info")
    assert browser.get(moved.headers["location"]).status == 200
    assert browser.get(prefix).headers["location"] == f"{prefix}/status"

    token = re.search(r'"token":"([^"]+)"', page.body)
    assert token is not None
    status, live = browser.websocket(f"{prefix}/status/ws", f"bokeh, {token[1]}", Origin=browser.origin)
    with live:
        assert status == 101
        frames = [frame(live) for _ in range(3)]  # Bokeh's header, metadata, content
        assert json.loads(frames[0][1])["msgtype"] == "ACK"


def test_who_has_no_session_is_told_how_to_get_one(daskctl: Daskctl, cluster: dict[str, Any]) -> None:
    """Without a cookie, a page, a websocket, and what no cluster has, are 401 with words; a used link is 403."""
    link = daskctl("dashboard", "etl")["link"]
    stranger = browser_of(link)
    for path in ("status", "health", "static/js/bokeh.min.js", "no-such-page"):
        page = stranger.get(f"/clusters/{cluster['uid']}/{path}")
        assert (page.status, "daskctl dashboard NAME" in page.body) == (401, True)
    assert stranger.get("/clusters/caaaaaaaaaaaaaaaaaaa/status").status == 401
    status, live = stranger.websocket(f"/clusters/{cluster['uid']}/status/ws", "bokeh")
    live.close()
    assert status == 401

    assert stranger.get(link.removeprefix(stranger.origin), method="HEAD").status == 403  # and uses up nothing
    browser = browser_of(link)
    assert browser.open(link).status == 200
    refused = stranger.open(link)
    assert (refused.status, "daskctl dashboard NAME" in refused.body) == (403, True)
    assert not stranger.cookies
    assert browser.open(link).status == 200  # who is logged in needs no code


def test_nothing_of_the_cluster_serves_pages_on_a_port(
    daemon: DaemonProcess, daskctl: Daskctl, cluster: dict[str, Any]
) -> None:
    """No TCP port of a cluster whose dashboard the daemon serves has one of Dask's pages, not even on loopback."""
    assert not cluster["scheduler"].get("dashboard_link")
    ports = listening(running_of(daemon, cluster["uid"]))
    assert len(ports) >= 3  # the scheduler's, the nanny's, the worker's
    for port in ports:
        for path in ("/status", "/health", "/metrics", f"/clusters/{cluster['uid']}/status"):
            assert answered(port, path) in ("none", "404"), (port, path)


def listening(pids: list[int]) -> set[int]:
    """The TCP ports that processes listen on."""
    inodes = set()
    for pid in pids:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}


def answered(port: int, path: str) -> str:
    """The status that a port answers to a request for a page; "none" when that is no HTTP."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        try:
            head = connection.recv(4096).decode("latin-1")
        except OSError:
            return "none"
    return head.split(" ")[1] if head.startswith("HTTP/") else "none"


def test_a_restarted_daemon_asks_for_a_new_link_and_shows_the_same_cluster(
    daemon: DaemonProcess, daskctl: Daskctl, cluster: dict[str, Any]
) -> None:
    """Sessions end with the daemon; the dashboard of a cluster that outlived it is there by a new link."""
    link = daskctl("dashboard", "etl")["link"]
    browser = browser_of(link)
    assert browser.open(link).status == 200
    daemon.restart()
    link = daskctl("dashboard", "etl")["link"]
    again = browser_of(link)
    again.cookies = browser.cookies
    assert again.get(f"/clusters/{cluster['uid']}/status").status == 401
    until(lambda: again.open(daskctl("dashboard", "etl")["link"]).status == 200, "the dashboard is back")


def test_a_scheduler_that_was_started_again_has_its_dashboard(
    daemon: DaemonProcess, daskctl: Daskctl, cluster: dict[str, Any]
) -> None:
    """After kill -9 of the scheduler the same session sees the next one's dashboard."""
    link = daskctl("dashboard", "etl")["link"]
    browser = browser_of(link)
    assert browser.open(link).status == 200
    (scheduler,) = of_role(daemon, cluster["uid"], "scheduler")
    os.kill(scheduler, signal.SIGKILL)
    status = f"/clusters/{cluster['uid']}/status"
    until(lambda: of_role(daemon, cluster["uid"], "scheduler") not in ([scheduler], []), "another scheduler")
    until(lambda: browser.get(status).status == 200, "its dashboard")


def test_an_ended_cluster_has_none_and_leaves_no_socket(
    daemon: DaemonProcess, daskctl: Daskctl, cluster: dict[str, Any]
) -> None:
    """Once a cluster has ended its page says so in words, and neither of its sockets is left."""
    link = daskctl("dashboard", "etl")["link"]
    browser = browser_of(link)
    assert browser.open(link).status == 200
    links = daemon.runtime_dir / "links"
    assert sorted(path.suffix for path in links.iterdir()) == ["", ".http"]
    daskctl("delete", "etl")
    status = f"/clusters/{cluster['uid']}/status"
    until(lambda: browser.get(status).status == 503, "the page is gone")
    assert "while its scheduler runs" in browser.get(status).body
    until(lambda: not list(links.iterdir()), "its sockets are gone")


def test_a_cluster_objects_link_logs_in_and_is_not_made_at_every_repr(
    daemon: DaemonProcess, cluster: dict[str, Any]
) -> None:
    """`dashboard_link` opens the dashboard; reprs of cluster and client show that very link as long as it is good."""
    with RemoteCluster.attach("etl", address=daemon.address) as attached, attached.get_client() as client:
        link = attached.dashboard_link
        assert attached.dashboard_link == link == client.dashboard_link
        assert link in attached._repr_html_()
        assert link in client._repr_html_()
        assert browser_of(link).open(link).status == 200


async def test_within_the_event_loop_the_link_is_the_plain_one(daemon: DaemonProcess, cluster: dict[str, Any]) -> None:
    """An asynchronous cluster's link can't be waited for: it has no code, and asks for a login."""
    async with await RemoteCluster.attach("etl", address=daemon.address, asynchronous=True) as attached:
        assert attached.dashboard_link.endswith(f"/clusters/{cluster['uid']}/status")
        assert "code" not in attached._repr_html_()


def test_a_link_is_opened_without_its_code_on_a_command_line(
    daemon: DaemonProcess, cluster: dict[str, Any], tmp_path: Path
) -> None:
    """`--open` has the browser open a file of the user's alone, which leads to the link."""
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/argument.new\nmv {tmp_path}/argument.new {tmp_path}/argument\n'
    )
    browser.chmod(0o755)
    env = {**daemon.env, "BROWSER": str(browser), "XDG_CACHE_HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "daskctl", "dashboard", "etl", "--open", "-o", "json"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=True)
    link = json.loads(done.stdout)["link"]
    argument = until(lambda: (tmp_path / "argument").exists() and (tmp_path / "argument").read_text(), "a browser")
    page = Path(argument.removeprefix("file://"))
    assert link.partition("code=")[2] not in argument
    assert page.stat().st_mode & 0o777 == 0o600
    assert link in page.read_text()
