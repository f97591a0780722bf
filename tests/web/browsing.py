"""A browser as far as the tests need one: cookies by path, one request a connection, websockets by hand."""

from __future__ import annotations

import http.client
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Page:
    """An answer; headers' names in lower case."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Browser:
    """Remembers cookies, and sends them where their path says so.

    Parameters
    ----------
    origin
        "http://HOST:PORT".
    """

    origin: str
    cookies: dict[str, tuple[str, str]] = field(default_factory=dict)  # name and path: value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.origin)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def cookie_for(self, path: str) -> str:
        """The header of cookies for that path; empty without any."""
        return "; ".join(f"{name}={value}" for name, (value, where) in self.cookies.items() if path.startswith(where))

    def get(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Page:
        """The answer to a request."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)
        sent = dict(headers or {})
        if cookie := self.cookie_for(path):
            sent.setdefault("Cookie", cookie)
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if given := found.get("set-cookie"):
            self._remember(given)
        return Page(answer.status, found, body)

    def _remember(self, given: str) -> None:
        pair, _, attributes = given.partition(";")
        name, _, value = pair.partition("=")
        path = re.search(r"Path=([^;]+)", attributes)
        assert path is not None
        self.cookies[name] = (value, path[1])

    def open(self, link: str) -> Page:
        """Follow a link to this origin, and the page's own way on from there."""
        assert link.startswith(self.origin), link
        page = self.get(link.removeprefix(self.origin))
        refresh = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.body)
        return self.get(refresh[1]) if refresh else page

    def websocket(self, path: str, protocol: str, **headers: str) -> tuple[int, socket.socket]:
        """The status of the answer to a websocket's request, and the connection behind it."""
        connection = socket.create_connection(self.address, PATIENCE_S)
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.address[0]}:{self.address[1]}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += [f"Sec-WebSocket-Protocol: {protocol}", f"Cookie: {self.cookie_for(path)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            assert byte, head
            head += byte
        return int(head.split(b" ")[1]), connection


def read(connection: socket.socket, n: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < n:
        more = connection.recv(n - len(data))
        assert more, data
        data += more
    return data


def frame(connection: socket.socket) -> tuple[int, bytes]:
    """The next frame of a websocket: its first byte, and what it holds."""
    first, length = read(connection, 2)
    if length == 126:
        length = int.from_bytes(read(connection, 2), "big")
    elif length == 127:
        length = int.from_bytes(read(connection, 8), "big")
    return first, read(connection, length)
