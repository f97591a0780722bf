"""One request to a cluster's dashboard, over the unix socket that the daemon bound. What answers may be hostile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import h11

from daskd.model.errors import SchedulerUnreachable
from daskd.security.peer import peer_uid

from .forwarding import Headers

HEAD_S = 60.0
"""How long a scheduler, whose loop users' code may hold up, has until it answers."""
BODY_S = 600.0
QUIET_S = 60.0
"""How long an answer may take as a whole, and be silent, once it has begun."""
MOST_HEAD_BYTES = 64 << 10
MOST_BODY_BYTES = 256 << 20
BLOCK = 64 << 10
PAUSE_S = 0.001
"""After every block, lest a stream without end keep the daemon busy with nothing else."""


class Upstream:
    """A connection for one request; made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)

    @classmethod
    async def connect(cls, path: Path, uid: int) -> Upstream:
        """Connect to who listens at `path`, who must be that user: not a byte is sent to anybody else.

        Raises
        ------
        SchedulerUnreachable
            When nobody listens there, somebody else does, or the queue is full.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # at once on a unix socket, and asyncio would take a full queue for a connection
            sock.connect(str(path))
            if peer_uid(sock) not in (uid, 0):
                raise SchedulerUnreachable("somebody else than the cluster's owner serves its dashboard")
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=BLOCK)
        except BlockingIOError:
            sock.close()
            raise SchedulerUnreachable("the cluster's scheduler is too busy to show its dashboard") from None
        except OSError as error:
            sock.close()
            raise SchedulerUnreachable(f"the cluster's dashboard can't be reached: {error.strerror}") from None
        except BaseException:
            sock.close()
            raise
        return cls(reader, writer)

    async def ask(self, method: bytes, target: bytes, headers: Headers) -> h11.Response | h11.InformationalResponse:
        """The head of the answer to a request; that of a websocket is informational, and says 101.

        Raises
        ------
        SchedulerUnreachable
            When it does not come in time, or is none.
        """
        request = h11.Request(method=method, target=target, headers=headers)
        try:
            self.writer.write((self._h11.send(request) or b"") + (self._h11.send(h11.EndOfMessage()) or b""))
            return await asyncio.wait_for(self._head(), HEAD_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise SchedulerUnreachable("the cluster's scheduler does not answer: it may be busy; try again") from None
        except (h11.RemoteProtocolError, OSError, ValueError):
            raise SchedulerUnreachable("what the cluster's scheduler answered is no HTTP") from None

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.reader.read(BLOCK))
            await asyncio.sleep(0)
        if isinstance(event, h11.InformationalResponse):
            if event.status_code != 101:
                raise ValueError("an answer that announces another")
            return event
        if not isinstance(event, h11.Response):
            raise ValueError("it hung up")
        _check_length(event)
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """The body of the answer, in blocks.

        Raises
        ------
        SchedulerUnreachable
            When it does not come whole and in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BODY_S
        try:
            while not isinstance(event := self._h11.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    yield bytes(event.data)
                    await asyncio.sleep(PAUSE_S)
                elif event is h11.NEED_DATA:
                    left = min(QUIET_S, deadline - loop.time())
                    self._h11.receive_data(await asyncio.wait_for(self.reader.read(BLOCK), left))
                else:
                    raise ValueError("it hung up")
        except (h11.RemoteProtocolError, OSError, ValueError, asyncio.TimeoutError, TimeoutError):
            raise SchedulerUnreachable("the answer of the cluster's scheduler was cut off") from None

    def after_upgrade(self) -> bytes:
        """What came along with the agreement to a websocket."""
        data: bytes = self._h11.trailing_data[0]
        return data

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self.writer.transport.abort()


def _check_length(response: h11.Response) -> None:
    """Dask says how long its answers are. One that comes in pieces could make each of them a byte."""
    headers = {bytes(name): bytes(value) for name, value in response.headers}
    if response.status_code in (204, 304):
        return
    if b"transfer-encoding" in headers or b"content-length" not in headers:
        raise ValueError("it does not say how long it is")
    if int(headers[b"content-length"]) > MOST_BODY_BYTES:
        raise ValueError("it is too long")
