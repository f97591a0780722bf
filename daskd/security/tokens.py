"""Short-lived tokens: how a gRPC caller on a unix socket proves who it is.

gRPC for Python shows a servicer no peer's uid. So beside the API's socket there is another, `<socket>.auth`, that
reads SO_PEERCRED of whoever connects and answers with one line of JSON, `{"token", "expires", "user"}`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from daskd.model.errors import Unauthenticated
from daskd.model.identity import Identity

from .peer import identity_of, peer_uid
from .sockets import AUTH_SUFFIX, Claim, SocketFile

LIFETIME = 600.0
"""How long a token is good, in seconds."""

_MOST_TOKENS = 100_000
_MOST_PER_USER = 1000
_MOST_CONNECTIONS = 64
_EXCHANGE_TIMEOUT = 5.0
_MEND = "connect anew: the client asks the daemon for a token by itself, over the socket that ends in .auth"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Issued:
    """A token for a caller; `expires` is unix seconds."""

    token: str
    expires: float


@dataclass(frozen=True, slots=True)
class _Entry:
    identity: Identity
    expires: float


class Tokens:
    """The tokens that are good now; kept hashed, in memory alone, so that a restart ends them all.

    Parameters
    ----------
    clock
        Unix seconds now.
    lifetime
        How long a token is good, in seconds.
    """

    def __init__(self, clock: Callable[[], float], *, lifetime: float = LIFETIME) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._entries: dict[bytes, _Entry] = {}  # in the order of their expiry, since all live equally long
        self._per_user: dict[int, list[bytes]] = {}

    def issue(self, identity: Identity) -> Issued:
        """A new token. A user who asks for very many loses the oldest of them."""
        now = self._clock()
        self._forget_expired(now)
        mine = self._per_user.setdefault(identity.uid, [])
        if len(mine) >= _MOST_PER_USER:
            self._forget(mine[0])
        elif len(self._entries) >= _MOST_TOKENS:
            self._forget(next(iter(self._entries)))
        token = secrets.token_urlsafe(32)
        key = _hashed(token)
        self._entries[key] = _Entry(identity, now + self._lifetime)
        self._per_user.setdefault(identity.uid, []).append(key)
        return Issued(token, now + self._lifetime)

    def lookup(self, token: str) -> Identity:
        """Whose token it is.

        Raises
        ------
        Unauthenticated
            When it was never given out, or its time is over.
        """
        entry = self._entries.get(_hashed(token))
        if entry is None or entry.expires <= self._clock():
            raise Unauthenticated(f"the token is unknown or has expired: {_MEND}")
        return entry.identity

    def _forget_expired(self, now: float) -> None:
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                return
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        mine = self._per_user[entry.identity.uid]
        mine.remove(key)
        if not mine:
            del self._per_user[entry.identity.uid]


class TokenServer:
    """Gives out tokens on `<socket>.auth`; reads nothing from its callers, and waits for none of them long."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._servers: list[asyncio.Server] = []
        self._claims: list[Claim] = []
        self._connections = 0

    async def listen(self, api_socket: Path, mode: int) -> None:
        """Serve beside the API's socket.

        Raises
        ------
        StateUnusable
            When the place can't be taken; the words say why and what to do.
        """
        file = SocketFile(api_socket.with_name(api_socket.name + AUTH_SUFFIX))
        await asyncio.to_thread(file.check)
        server = await asyncio.start_unix_server(self._exchange, str(file.draft), backlog=256)
        self._servers.append(server)
        self._claims.append(file.publish(mode))

    async def close(self) -> None:
        """Stop serving, and remove the sockets that are still ours."""
        for server in self._servers:
            server.close()
        for claim in self._claims:
            claim.release()
        self._servers.clear()
        self._claims.clear()

    async def _exchange(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._connections >= _MOST_CONNECTIONS:
                return
            self._connections += 1
            try:
                await asyncio.wait_for(self._answer(writer), _EXCHANGE_TIMEOUT)
            finally:
                self._connections -= 1
        except (OSError, asyncio.TimeoutError) as error:
            log.info("token exchange failed", error=type(error).__name__)
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        # the name service may be slow (LDAP), and the loop is not to wait for it
        identity = await asyncio.to_thread(identity_of, peer_uid(connection))
        issued = self._tokens.issue(identity)
        answer = {"token": issued.token, "expires": issued.expires, "user": identity.name}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
