"""Who we say that we are, and whom we say it to.

Over a unix socket nobody needs a password: beside the daemon's socket stands another, ``<socket>.auth``, whose far end
reads our uid from the kernel and answers with a short-lived token. We read the far end's uid likewise, before anything
is sent or believed: a socket in a shared directory may be anybody's. Over TCP the token is what the user was given.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .address import Address
from .errors import Unauthenticated, UntrustedDaemon, unavailable

Metadata = Sequence[tuple[str, str]]

_TIMEOUT = 10.0  # seconds for the whole exchange, on this machine
_LONGEST_ANSWER = 16 * 1024  # bytes
_RENEW_BEFORE = 30.0  # seconds before a token's end


class Credentials(Protocol):
    """What a call shows to say who makes it."""

    async def metadata(self) -> Metadata:
        """The metadata to send with a call."""
        ...

    def refused(self) -> bool:
        """Note that the daemon knew nobody by the last metadata; True if new ones are worth a second try."""
        ...


@dataclass
class GivenToken:
    """A token that the user was given, or none at all."""

    token: str | None = field(default=None, repr=False)

    async def metadata(self) -> Metadata:
        """The token, if there is one."""
        return [_bearer(self.token)] if self.token else []

    def refused(self) -> bool:
        """The same token again would be refused again."""
        return False


@dataclass(frozen=True)
class Token:
    """A token of the exchange; ``expires`` in seconds since the epoch."""

    value: str = field(repr=False)
    expires: float
    user: str


@dataclass
class SocketCredentials:
    """Tokens from the exchange beside a daemon's unix socket, renewed before they end."""

    address: Address
    _token: Token | None = None

    async def metadata(self) -> Metadata:
        """A token that is still good for a while; one is fetched if need be.

        Raises
        ------
        UntrustedDaemon
            Another user's process answers there.
        DaemonUnavailable
            None answers.
        """
        token = self._token
        if token is None or time.time() > token.expires - _RENEW_BEFORE:
            token = self._token = await asyncio.to_thread(exchange, self.address)
        return [_bearer(token.value)]

    def refused(self) -> bool:
        """A daemon that was started again knows no token of the one before: fetch a new one."""
        self._token = None
        return True


def credentials(address: Address, token: str | None) -> Credentials:
    """The way to say who we are at `address`; a token that was given goes before the exchange."""
    if token or address.socket is None:
        return GivenToken(token)
    return SocketCredentials(address)


def exchange(address: Address, timeout: float = _TIMEOUT) -> Token:
    """Fetch a token from the exchange of the daemon at `address`. Blocks.

    Raises
    ------
    UntrustedDaemon
        One of its sockets belongs to another user.
    DaemonUnavailable
        Nobody answers there.
    Unauthenticated
        The answer is no token.
    """
    assert address.socket is not None
    assert address.auth_socket is not None
    try:
        check_socket(address.socket, timeout)
        with _connect(address.auth_socket, timeout) as sock:
            _check_peer(sock, address.auth_socket)
            answer = _read_line(sock, timeout)
    except OSError as error:
        if isinstance(error, UntrustedDaemon):
            raise
        raise unavailable(str(address), error.strerror or str(error)) from error
    return parse_token(answer, address)


def check_socket(path: Path, timeout: float = _TIMEOUT) -> None:
    """Make sure that a socket's far end is a process of our own, or of root.

    Raises
    ------
    UntrustedDaemon
        It is another user's.
    OSError
        Nobody answers.
    """
    with _connect(path, timeout) as sock:
        _check_peer(sock, path)


def parse_token(answer: bytes, address: Address) -> Token:
    """Read the exchange's answer: ``{"token": text, "expires": seconds since the epoch, "user": name}``.

    Raises
    ------
    Unauthenticated
        It is anything else.
    """
    try:
        content = json.loads(answer)
        token = Token(str(content["token"]), float(content["expires"]), str(content.get("user", "")))
        if not token.value.isascii() or not token.value.isprintable() or not token.value:
            raise ValueError("the token is not printable")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unauthenticated(
            f"The token exchange at {address.auth_socket} answered with no token: is it a daskd of this release?",
            facts={"address": str(address)},
        ) from error
    return token


def _connect(path: Path, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(str(path))
    except BaseException:
        # Whatever went wrong, and be it Ctrl-C, the descriptor must not stay open.
        sock.close()
        raise
    return sock


def _check_peer(sock: socket.socket, path: Path) -> None:
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if uid not in (0, os.getuid()):
        raise UntrustedDaemon(
            f"{path} is served by a process of uid {uid}, neither yours nor root's: nothing was sent to it. "
            "Start a daemon of your own (`daskd serve`), or say by DASKD_ADDRESS which one you mean.",
            facts={"path": str(path), "uid": str(uid)},
        )


def _read_line(sock: socket.socket, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    answer = b""
    while not answer.endswith(b"\n") and len(answer) <= _LONGEST_ANSWER:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the token exchange did not answer in time")
        sock.settimeout(remaining)
        part = sock.recv(4096)
        if not part:
            break
        answer += part
    return answer


def _bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")
