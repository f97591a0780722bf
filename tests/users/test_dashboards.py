"""One root daemon, two users: a dashboard is for whom its owner lets see it, and by the daemon alone."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from ..web.browsing import Browser
from .conftest import Served
from .test_two_users import ASK_PAGES, daskctl, listening, processes_of

CONFIG = """
[web]
listen = "127.0.0.1:0"
[tls]
loopback_without_tls_though_others_could_pose_as_daskd = true
"""


@pytest.fixture(scope="module")
def hers(served: Served) -> dict[str, Any]:
    """Ann's running cluster."""
    return dict(daskctl(served, served.ann, "create", "etl", "-n", "1"))


def logged_in(link: str) -> Browser:
    """A browser that opened a link."""
    origin = re.match(r"http://[^/]+", link)
    assert origin is not None
    browser = Browser(origin[0])
    assert browser.open(link).status == 200
    return browser


def test_an_owner_sees_the_dashboard_and_nobody_else_is_given_a_link(served: Served, hers: dict[str, Any]) -> None:
    """Ann's cluster has a dashboard at a daemon that serves them; for Bob there is no such cluster."""
    browser = logged_in(daskctl(served, served.ann, "dashboard", "etl")["link"])
    assert "<title>Dask" in browser.get(f"/clusters/{hers['uid']}/status").body
    env = {"DASKD_ADDRESS": served.daemon.address, "HOME": str(served.bob.home)}
    for name in (f"{served.ann.name}/etl", hers["uid"]):
        refused = served.bob.run(sys.executable, "-m", "daskctl", "dashboard", name, env=env)
        assert refused.returncode == 1
        assert "you have no cluster" in refused.stderr


def test_no_local_port_has_her_pages(served: Served, hers: dict[str, Any]) -> None:
    """Bob asks every port that Ann's processes listen on: none has a page but the one that says that there is none."""
    ports = listening(processes_of(served, hers["uid"]))
    assert len(ports) >= 3  # the scheduler's, the nanny's, the worker's
    below = f"/clusters/{hers['uid']}/status"
    for port in ports:
        code = ASK_PAGES.replace("PORT", str(port)).replace("('/', ", f"('/', {below!r}, ")
        done = served.bob.run(sys.executable, "-I", "-S", "-c", f"import socket\n{code}")
        assert done.returncode == 0, done.stderr
        # a worker's HTTP server, which distributed can't leave out, and which has no page
        assert set(done.stdout.splitlines()) <= {"none", "404", '/sitemap.json {"paths": ["/sitemap.json"]}'}, port


def test_her_dashboards_socket_is_for_the_daemon_alone(served: Served, hers: dict[str, Any]) -> None:
    """Neither Bob nor Ann herself can connect to the socket that the daemon bound."""
    (path,) = (served.daemon.runtime_dir / "links").glob("*.http")
    for who in (served.bob, served.ann):
        assert not who.can(f"socket.socket(socket.AF_UNIX).connect({str(path)!r})")


def test_a_share_lets_see_the_dashboard_until_it_is_taken_back(served: Served, hers: dict[str, Any]) -> None:
    """Bob, who may view, sees it in his own session, and 403 from the moment he may not; Ann's history tells of it."""
    daskctl(served, served.ann, "share", "etl", served.bob.name, "--right", "view")
    browser = logged_in(daskctl(served, served.bob, "dashboard", f"{served.ann.name}/etl")["link"])
    status = f"/clusters/{hers['uid']}/status"
    assert browser.get(status).status == 200
    daskctl(served, served.ann, "unshare", "etl", served.bob.name)
    refused = browser.get(status)
    assert (refused.status, "ask its owner" in refused.body) == (403, True)
    events = daskctl(served, served.ann, "events", "etl")["events"]
    assert ("DASHBOARD_LINK_GIVEN", served.bob.name) in [(event["type"], event["actor"]) for event in events]


def test_a_session_for_ones_own_cluster_shows_no_other(served: Served, hers: dict[str, Any]) -> None:
    """Bob's session, sent to Ann's dashboard by hand, finds nothing there."""
    his = daskctl(served, served.bob, "create", "mine")
    browser = logged_in(daskctl(served, served.bob, "dashboard", "mine")["link"])
    assert browser.get(f"/clusters/{his['uid']}/status").status == 200
    ((value, _),) = browser.cookies.values()
    stolen = browser.get(f"/clusters/{hers['uid']}/status", headers={"Cookie": f"daskd-dashboard={value}"})
    assert stolen.status == 404
