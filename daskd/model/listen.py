"""Where a daemon listens: a unix socket, or a host and a port."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen: `socket`, or else `host` and `port`."""

    socket: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether no other machine can reach it."""
        if self.socket is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listener(text: str) -> Listener:
    """Read `unix:/path`, `unix:///path` or `HOST:PORT` (an IPv6 host in brackets).

    Raises
    ------
    ValueError
        When it is none of these.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if not path.startswith("/"):
            raise _wrong(text)
        return Listener(socket=Path(path))
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "/" in host:
        raise _wrong(text)
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise _wrong(text)
    return Listener(host=host, port=int(port))


def _wrong(text: str) -> ValueError:
    return ValueError(
        f'{text!r} is no address to listen on: write "unix:" and an absolute path, or HOST:PORT (an IPv6 host in '
        "brackets)"
    )
