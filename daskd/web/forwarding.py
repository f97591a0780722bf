"""Pure: which requests are about a cluster's dashboard, and what of them and of the answers passes the proxy.

A scheduler runs users' code: whatever it answers is hostile. So both ways only what is named here passes. Pages of all
clusters may share one origin; what keeps one from reading another is the policy that each answer bears: scripts,
connections, images lie below the cluster's own path alone, and a page has no frames, windows, workers of its own, by
which it could get hold of another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from daskd.model.names import is_uid

Headers = list[tuple[bytes, bytes]]

MOST_TARGET = 8192
_PREFIX = "/clusters/"
_TARGET = re.compile(r"/[A-Za-z0-9_~%/.?=&+,;:@!$'()*\[\]|-]*", re.ASCII)

_REQUEST = {
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"range",
}
_REQUEST_UPGRADE = {
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
}
_RESPONSE = {
    b"accept-ranges",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-type",
    b"etag",
    b"last-modified",
}
_RESPONSE_UPGRADE = {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"}

# Dask's pages of tables have their one style sheet from there
_FOREIGN_STYLES = "https://cdnjs.cloudflare.com/ajax/libs/bulma/"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a cluster's page, `page` without the slash before it; `query` without the "?"."""

    cluster: str
    page: str
    query: str

    @property
    def path(self) -> str:
        """The path of the page, from the root."""
        return f"{_PREFIX}{self.cluster}/{self.page}"

    @property
    def whole(self) -> bytes:
        """As a request has it."""
        return (f"{self.path}?{self.query}" if self.query else self.path).encode("ascii")


def parse_target(raw: bytes) -> Target | None:
    """What a request's target is about; None: nothing that is here."""
    text = raw.decode("ascii", "replace")
    if len(text) > MOST_TARGET or not _TARGET.fullmatch(text):
        return None
    path, _, query = text.partition("?")
    if not path.startswith(_PREFIX) or _climbs(path):
        return None
    cluster, _, page = path.removeprefix(_PREFIX).partition("/")
    return Target(cluster, page, query) if is_uid(cluster) else None


def _climbs(path: str) -> bool:
    return any(unquote(segment) in (".", "..") or "/" in unquote(segment) for segment in path.split("/"))


def is_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request wants to become a websocket."""
    return _values(headers, b"upgrade") == [b"websocket"]


def is_foreign(headers: Iterable[tuple[bytes, bytes]], origin: str) -> bool:
    """Whether a page of another origin sent a request; browsers say so of every websocket."""
    return any(value.decode("latin-1").lower() != origin.lower() for value in _values(headers, b"origin"))


def is_worker_script(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser asks for what would go on running, and answer in a page's place, when that is closed."""
    return bool(_values(headers, b"service-worker"))


def cookies(headers: Iterable[tuple[bytes, bytes]], name: str) -> list[str]:
    """The values of all cookies of that name: pages can set more, and hide none by that."""
    pairs = [
        pair.strip().partition("=")
        for value in _values(headers, b"cookie")
        for pair in value.decode("latin-1").split(";")
    ]
    return [value for key, _, value in pairs if key == name][:20]


def to_cluster(headers: Iterable[tuple[bytes, bytes]], host: str, upgrade: bool) -> Headers:
    """What of a browser's request the cluster gets: neither cookies, nor who looks, nor from where."""
    passed = _REQUEST | _REQUEST_UPGRADE if upgrade else _REQUEST
    kept = [(name, value) for name, value in headers if name in passed]
    connection = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")] if upgrade else [(b"Connection", b"close")]
    return [(b"Host", host.encode("ascii")), *connection, *kept]


def to_browser(headers: Iterable[tuple[bytes, bytes]], target: Target, origin: str) -> Headers:
    """What of a cluster's answer the browser gets: no cookies, no headers that act on the whole origin.

    Raises
    ------
    ValueError
        When it would be sent elsewhere.
    """
    known = list(headers)
    kept = [(name, value) for name, value in known if name in _RESPONSE]
    kept += [(b"location", _location(value, target)) for value in _values(known, b"location")]
    return [*kept, *guards(policy(target.cluster, origin))]


def upgrade_to_browser(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a cluster's agreement to a websocket the browser gets."""
    kept = [(name, value) for name, value in headers if name in _RESPONSE_UPGRADE]
    return [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), *kept]


def guards(content_security_policy: str) -> Headers:
    """What every answer bears."""
    return [
        (b"Content-Security-Policy", content_security_policy.encode("ascii")),
        (b"Cache-Control", b"private, no-cache"),
        (b"Cross-Origin-Opener-Policy", b"same-origin"),
        (b"Cross-Origin-Resource-Policy", b"same-origin"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Frame-Options", b"DENY"),
    ]


def policy(cluster: str, origin: str) -> str:
    """What a cluster's page may do in a browser: use what lies below its own path, and open nothing."""
    own = f"{origin}{_PREFIX}{cluster}/"
    live = f"ws{own.removeprefix('http')}"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own} 'unsafe-inline' 'unsafe-eval'",
            f"style-src {own} {_FOREIGN_STYLES} 'unsafe-inline'",
            f"img-src {own} data: blob:",
            f"font-src {own} data:",
            f"connect-src {own} {live}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-src 'none'",
            "frame-ancestors 'none'",
            "object-src 'none'",
            "worker-src 'none'",
            # without allow-popups: a window of another cluster's page could be read from here
            "sandbox allow-scripts allow-same-origin allow-downloads",
        )
    )


def _location(value: bytes, target: Target) -> bytes:
    text = value.decode("latin-1")
    parts = urlsplit(text)
    found = None if parts.scheme or parts.netloc else parse_target(urljoin(target.path, text).encode("latin-1"))
    if found is None or found.cluster != target.cluster:
        raise ValueError("it sends the browser elsewhere")
    return found.whole


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]
