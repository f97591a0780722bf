"""One request to a cluster's dashboard, by the way that leads to its scheduler. What answers may be hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import h11

from daskd.control.link import Dial, NotReached
from daskd.drivers.streams import Stream
from daskd.model.errors import SchedulerUnreachable

from .forwarding import Headers

CONNECT_S = 30.0
HEAD_S = 60.0
"""How long a scheduler, whose loop users' code may hold up, has until it answers."""
BODY_S = 600.0
QUIET_S = 60.0
"""How long an answer may take as a whole, and be silent, once it has begun."""
MOST_HEAD_BYTES = 64 << 10
MOST_BODY_BYTES = 256 << 20
PAUSE_S = 0.001
"""After every block, lest a stream without end keep the daemon busy with nothing else."""


class Upstream:
    """A connection for one request; made by `connect`."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)

    @classmethod
    async def connect(cls, dial: Dial) -> Upstream:
        """Connect to who serves a cluster's dashboard, who must be its scheduler: the dial sends nobody else a byte.

        Raises
        ------
        SchedulerUnreachable
            When nobody serves it, somebody else does, or it does not take the connection in time.
        """
        try:
            return cls(await asyncio.wait_for(dial(), CONNECT_S))
        except NotReached as error:
            raise SchedulerUnreachable(f"the cluster's dashboard can't be reached: {error}") from None
        except (asyncio.TimeoutError, TimeoutError):
            raise SchedulerUnreachable("the cluster's scheduler is too busy to show its dashboard") from None

    async def ask(self, method: bytes, target: bytes, headers: Headers) -> h11.Response | h11.InformationalResponse:
        """The head of the answer to a request; that of a websocket is informational, and says 101.

        Raises
        ------
        SchedulerUnreachable
            When it does not come in time, or is none.
        """
        request = h11.Request(method=method, target=target, headers=headers)
        try:
            await self.stream.send((self._h11.send(request) or b"") + (self._h11.send(h11.EndOfMessage()) or b""))
            return await asyncio.wait_for(self._head(), HEAD_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise SchedulerUnreachable("the cluster's scheduler does not answer: it may be busy; try again") from None
        except (h11.RemoteProtocolError, OSError, ValueError):
            raise SchedulerUnreachable("what the cluster's scheduler answered is no HTTP") from None

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.stream.receive())
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
                    self._h11.receive_data(await asyncio.wait_for(self.stream.receive(), left))
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
        self.stream.close()


def _check_length(response: h11.Response) -> None:
    """Dask says how long its answers are. One that comes in pieces could make each of them a byte."""
    headers = {bytes(name): bytes(value) for name, value in response.headers}
    if response.status_code in (204, 304):
        return
    if b"transfer-encoding" in headers or b"content-length" not in headers:
        raise ValueError("it does not say how long it is")
    if int(headers[b"content-length"]) > MOST_BODY_BYTES:
        raise ValueError("it is too long")
