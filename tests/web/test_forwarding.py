"""What passes the proxy, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskd.web.forwarding import Target, cookies, parse_target, policy, to_browser

UID = "caaaaaaaaaaaaaaaaaaa"
OTHER = "cbbbbbbbbbbbbbbbbbbb"
ORIGIN = "https://dask.example.org:8443"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (f"/clusters/{UID}", Target(UID, "", "")),
        (f"/clusters/{UID}/status?a=b?c", Target(UID, "status", "a=b?c")),
        (f"/clusters/{UID}/info/call-stack/('x',%200).html", Target(UID, "info/call-stack/('x',%200).html", "")),
        (f"http://elsewhere/clusters/{UID}/status", None),
        (f"/clusters/{UID}/../{OTHER}/status", None),
        (f"/clusters/{UID}/%2E%2e/{OTHER}/status", None),
        (f"/clusters/{UID}/a%2f..%2f../x", None),
        (f"/clusters/{UID}/a\\b", None),
        (f"//clusters/{UID}/status", None),
        ("/clusters/ETL/status", None),
        (f"/clusters/{UID}/{'x' * 9000}", None),
    ],
)
def test_a_target_is_a_page_of_one_cluster_or_nothing(raw: str, expected: Target | None) -> None:
    """What climbs, names no cluster, or could be read in two ways is nothing."""
    assert parse_target(raw.encode()) == expected


_PIECES = ["..", "/", "//", ".", "%2e", "%2f", "\\", ":", "?", "#", "a", "clusters", UID, OTHER, "http:", "@", "\t"]


@given(st.lists(st.sampled_from(_PIECES), max_size=9).map(lambda pieces: "".join(pieces).encode()) | st.binary())
def test_no_location_leads_out_of_the_cluster(value: bytes) -> None:
    """Whatever a cluster sends, what the browser gets lies below its own path, without a step up."""
    target = Target(UID, "a/b", "")
    try:
        headers = to_browser([(b"location", value)], target, ORIGIN)
    except ValueError:
        return
    (found,) = [value for name, value in headers if name == b"location"]
    assert found.startswith(f"/clusters/{UID}".encode())
    assert parse_target(found) is not None


def test_a_clusters_page_may_use_what_is_its_own_and_open_nothing() -> None:
    """Every source is the cluster's path, in both schemes; no frames, no windows, no workers, no forms."""
    parts = dict(part.split(" ", 1) for part in policy(UID, ORIGIN).split("; "))
    own, live = f"{ORIGIN}/clusters/{UID}/", f"wss://dask.example.org:8443/clusters/{UID}/"
    assert parts["connect-src"].split() == [own, live]
    assert parts["script-src"].split() == [own, "'unsafe-inline'", "'unsafe-eval'"]
    for name in ("default-src", "frame-src", "frame-ancestors", "worker-src", "object-src", "form-action", "base-uri"):
        assert parts[name] == "'none'", name
    assert "allow-popups" not in parts["sandbox"]
    assert "allow-top-navigation" not in parts["sandbox"]
    assert not any(ORIGIN in source and source not in (own, live) for part in parts.values() for source in part.split())


def test_a_cookie_that_a_page_set_hides_none() -> None:
    """All cookies of the name are tried, wherever they stand; a flood of them is cut off."""
    headers = [(b"cookie", b"a=1; d=planted; d=real"), (b"cookie", b"d=more")]
    assert cookies(headers, "d") == ["planted", "real", "more"]
    assert len(cookies([(b"cookie", b"d=x; " * 1000)], "d")) == 20
