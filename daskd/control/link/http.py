"""One HTTP/1.1 exchange over a unix socket, bounded in size and time, with a peer that may be hostile."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import h11

MOST_BYTES = 8 * 1024 * 1024
_BLOCK = 64 * 1024


class ExchangeError(Exception):
    """The exchange failed; the words say how."""


def _peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _connect(path: Path, uid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # at once on a unix socket, and asyncio would take a full queue for a connection
        sock.connect(str(path))
        # on a unix socket the peer is who called listen(); not a byte is sent to anybody else
        if (peer := _peer_uid(sock)) not in (uid, 0):
            raise ExchangeError(f"the user {peer} listens on its link, not the user {uid} whose cluster it is")
    except BlockingIOError:
        sock.close()
        raise ExchangeError("it takes no more connections: its event loop has been busy for long") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _request(method: str, target: str, body: bytes) -> list[h11.Event]:
    headers = [("Host", "daskd"), ("Accept", "application/json"), ("Connection", "close")]
    if body:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    events: list[h11.Event] = [h11.Request(method=method, target=target, headers=headers)]
    if body:
        events.append(h11.Data(data=body))
    return [*events, h11.EndOfMessage()]


def _check_head(response: h11.Response) -> None:
    """A runtime says how long its answer is. One that comes in pieces could make each of them a byte."""
    headers = {bytes(name): bytes(value) for name, value in response.headers}
    length = headers.get(b"content-length")
    if length is None or b"transfer-encoding" in headers:
        raise ExchangeError("its answer does not say how long it is, as a runtime's does")
    if int(length) > MOST_BYTES:
        raise ExchangeError(f"its answer is longer than {MOST_BYTES} bytes")


async def _answer(sock: socket.socket, connection: h11.Connection) -> tuple[int, bytes]:
    loop = asyncio.get_running_loop()
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await loop.sock_recv(sock, _BLOCK))
            # what has come already is read without waiting: the others, and the time limit, have their turn here
            await asyncio.sleep(0)
        elif isinstance(event, h11.Response):
            _check_head(event)
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif isinstance(event, h11.InformationalResponse):
            raise ExchangeError(f"its answer is none: {event.status_code}, which announces another")
        else:
            raise ExchangeError("it hung up before its answer was whole")


async def exchange(
    path: Path, uid: int, method: str, target: str, body: bytes = b"", *, timeout: float
) -> tuple[int, bytes]:
    """Status and body of one call.

    Parameters
    ----------
    path
        The unix socket.
    uid
        Who must be listening there.
    timeout
        Seconds for the whole exchange.

    Raises
    ------
    ExchangeError
        When nobody listens, somebody else does, the answer is no HTTP, too long, or not there in time.
    """
    try:
        return await asyncio.wait_for(_exchange(path, uid, method, target, body), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        raise ExchangeError(f"it did not answer within {timeout:g} s") from None
    except (h11.RemoteProtocolError, ValueError) as error:
        raise ExchangeError(f"its answer is no HTTP: {error}"[:300]) from None
    except OSError as error:
        raise ExchangeError(f"nobody answers on its link: {error.strerror or error}") from None


async def _exchange(path: Path, uid: int, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    loop = asyncio.get_running_loop()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    sock = _connect(path, uid)
    try:
        data = b"".join(connection.send(event) or b"" for event in _request(method, target, body))
        await loop.sock_sendall(sock, data)
        return await _answer(sock, connection)
    finally:
        sock.close()
