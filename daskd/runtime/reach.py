"""Can this machine reach the scheduler? Where not, which step failed: name, route, refused, time-out, TLS.

A distributed worker says of all of them that its start timed out; the user needs to know which.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

from distributed.comm.addressing import parse_address, parse_host_port
from distributed.security import Security

from .spec import TLSFiles

PROBE_TIMEOUT = 5.0

_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)


class Unreachable(Exception):
    """The scheduler can't be reached.

    Parameters
    ----------
    step : {"address", "name", "route", "refused", "timeout", "tls", "dask"}
        What failed.
    words : str
        What failed, where, and what may be done.
    """

    def __init__(self, step: str, words: str) -> None:
        super().__init__(words)
        self.step = step
        self.words = words


def make_security(tls: TLSFiles | None) -> Security:
    """The Security of everything in a node; without files what the owner's Dask configuration says."""
    if tls is None:
        return Security()
    # The client's role too: get_client() in a task connects with it.
    return Security(
        require_encryption=True,
        tls_ca_file=tls.ca,
        tls_worker_cert=tls.cert,
        tls_worker_key=tls.key,
        tls_client_cert=tls.cert,
        tls_client_key=tls.key,
    )


async def probe(address: str, security: Security, timeout: float = PROBE_TIMEOUT) -> None:
    """Connect to the scheduler's address as far as its first bytes, and hang up.

    Parameters
    ----------
    address : str
        Such as ``tls://host:port``; other protocols than tcp and tls are not probed.
    security : Security
        What the node shows and trusts.
    timeout : float
        Seconds each step may take.

    Raises
    ------
    Unreachable
        With the step that failed.
    """
    try:
        scheme, location = parse_address(address)
        if scheme not in ("tcp", "tls"):
            return
        host, port = parse_host_port(location)
    except ValueError as error:
        raise Unreachable("address", f"{address!r} is no address of a scheduler: {error}") from error
    context = _tls_context(security) if scheme == "tls" else None
    where = await _resolve(host, port, timeout)
    reader, writer = await _connect(where, address, timeout, context)
    try:
        await _first_byte(reader, address, timeout)
    finally:
        writer.transport.abort()


def _tls_context(security: Security) -> ssl.SSLContext:
    try:
        context: ssl.SSLContext | None = security.get_connection_args("worker")["ssl_context"]
    except (OSError, ssl.SSLError) as error:
        words = f"this node's certificates can't be read: {error}; they are damaged or were not delivered"
        raise Unreachable("tls", words) from error
    if context is None:
        raise Unreachable("tls", "the scheduler speaks TLS, and this node was given no certificates")
    return context


async def _resolve(host: str, port: int, timeout: float) -> tuple[Any, ...]:
    """Look a name up; the first address's (family, type, protocol, name, socket address)."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), timeout)
    except asyncio.TimeoutError as error:
        words = f"the name {host} was not answered by this machine's name service within {timeout:g} s"
        raise Unreachable("name", words) from error
    except (OSError, UnicodeError) as error:
        words = f"this machine knows no host {host}: {error}; the scheduler needs a host name that it knows"
        raise Unreachable("name", words) from error
    return found[0]


async def _connect(
    where: tuple[Any, ...], address: str, timeout: float, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket(where[0], socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_connect(sock, where[4]), timeout)
    except (OSError, asyncio.TimeoutError) as error:
        sock.close()
        raise _connect_failure(error, address, timeout) from error
    hostname = "" if context else None
    try:
        opened = asyncio.open_connection(sock=sock, ssl=context, server_hostname=hostname)
        return await asyncio.wait_for(opened, timeout)
    except asyncio.TimeoutError as error:
        sock.close()
        words = f"{address} accepted the connection and was silent for {timeout:g} s: no TLS, or it hangs"
        raise Unreachable("tls" if context else "timeout", words) from error
    except OSError as error:  # ssl.SSLError is one
        sock.close()
        raise Unreachable("tls", _tls_words(error, address)) from error


def _connect_failure(error: Exception, address: str, timeout: float) -> Unreachable:
    # asyncio's time-out is the built-in one from Python 3.11 on; the kernel raises the built-in one too.
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        words = f"{address} did not answer within {timeout:g} s: a firewall may drop what is sent to it"
        return Unreachable("timeout", words)
    if isinstance(error, ConnectionRefusedError):
        words = f"{address} refused the connection: no scheduler listens there, or a firewall rejects it"
        return Unreachable("refused", words)
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        words = f"no route from this machine to {address}: {error.strerror}; it needs another address or network"
        return Unreachable("route", words)
    return Unreachable("route", f"{address} can't be connected to: {error}")


def _tls_words(error: Exception, address: str) -> str:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return f"TLS with {address} failed: {reason}; its certificates and this node's are not of one cluster"


async def _first_byte(reader: asyncio.StreamReader, address: str, timeout: float) -> None:
    """Wait for the greeting: with TLS 1.3 the server refuses a certificate only after the handshake."""
    try:
        greeting = await asyncio.wait_for(reader.read(1), timeout)
    except asyncio.TimeoutError as error:
        words = f"{address} accepted the connection and was silent for {timeout:g} s: no scheduler, or it hangs"
        raise Unreachable("timeout", words) from error
    except ssl.SSLError as error:
        raise Unreachable("tls", _tls_words(error, address)) from error
    except OSError as error:
        raise Unreachable("dask", f"{address} cut the connection off: {error}") from error
    if not greeting:
        words = f"{address} closed the connection without a word: it is no scheduler, or one that is ending"
        raise Unreachable("dask", words)
