"""Where the daemon is.

What an argument says goes before DASKD_ADDRESS, that before Dask's configuration (``daskd.address``), that before the
socket of the user's own daemon, and that before the system's.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dask.config

from .errors import InvalidAddress

SYSTEM_SOCKET = Path("/run/daskd/daskd.sock")

# sun_path of sockaddr_un is 108 bytes with its end; the socket of the token exchange has 5 more in its name.
_LONGEST_SOCKET_PATH = 102


@dataclass(frozen=True)
class Address:
    """A daemon's address: a unix socket's path, or a host and a port."""

    socket: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def auth_socket(self) -> Path | None:
        """The socket of the token exchange, which stands beside a unix socket; None for a host."""
        return self.socket.with_name(self.socket.name + ".auth") if self.socket is not None else None

    @property
    def is_loopback(self) -> bool:
        """Whether it is a port of this machine that no other can reach."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Read an address: ``unix:/path``, ``unix:///path`` or ``host:port`` (an IPv6 host in brackets).

    Raises
    ------
    InvalidAddress
        It is none of these.
    """
    if text.startswith("unix:"):
        return _socket_address(text)
    if "://" in text:
        raise _invalid(text, "leave the scheme out: write host:port, or unix:/path for a socket")
    if text.startswith(("/", "~")):
        raise _invalid(text, f"a socket is written with its kind: unix:{text}")
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise _invalid(text, "write host:port, or unix:/path for a socket")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _invalid(text, "write an IPv6 host in brackets: [::1]:8780")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _invalid(text, "the port must be a number from 1 to 65535")
    return Address(host=host, port=int(port))


def find_address(address: str | None = None, environment: Mapping[str, str] | None = None) -> Address:
    """The daemon's address, from the first place that names one.

    Parameters
    ----------
    address
        What the caller was told, if anything.
    environment
        The environment variables; this process's by default.

    Raises
    ------
    InvalidAddress
        What was found is no address; the words name where it stood.
    """
    env = os.environ if environment is None else environment
    for text, source in (
        (address, "address"),
        (env.get("DASKD_ADDRESS"), "DASKD_ADDRESS"),
        (dask.config.get("daskd.address", None), "daskd.address of Dask's configuration"),
    ):
        if text:
            try:
                return parse_address(text)
            except InvalidAddress as error:
                raise InvalidAddress(f"{source}: {error}", facts=error.facts) from None
    user = user_socket(env)
    return Address(socket=SYSTEM_SOCKET if not user.exists() and SYSTEM_SOCKET.exists() else user)


def find_token(token: str | None = None, environment: Mapping[str, str] | None = None) -> str | None:
    """The token that was given for a daemon: the argument, DASKD_TOKEN, or Dask's ``daskd.token``; else None."""
    env = os.environ if environment is None else environment
    return token or env.get("DASKD_TOKEN") or dask.config.get("daskd.token", None) or None


def user_socket(environment: Mapping[str, str]) -> Path:
    """The socket of the user's own daemon."""
    runtime_dir = environment.get("XDG_RUNTIME_DIR")
    folder = Path(runtime_dir) / "daskd" if runtime_dir else Path(f"/tmp/daskd-{os.getuid()}")  # noqa: S108 - checked by uid
    return folder / "daskd.sock"


def _socket_address(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            raise _invalid(text, "after unix:// comes an absolute path: unix:///path")
    if not path.startswith("/"):
        raise _invalid(text, "the socket's path must be absolute")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise _invalid(text, f"a socket's path can't be longer than {_LONGEST_SOCKET_PATH} bytes: put it elsewhere")
    return Address(socket=Path(path))


def _invalid(text: str, mend: str) -> InvalidAddress:
    return InvalidAddress(f"{text!r} is no address of a daemon: {mend}.", facts={"address": text})
