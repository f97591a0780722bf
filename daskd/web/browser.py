"""One connection of a browser: requests without bodies, answers whole or in blocks, or a websocket."""

from __future__ import annotations

import asyncio

import h11

from daskd.drivers.streams import BLOCK, pair

from .forwarding import Headers, guards
from .notices import POLICY, Notice

REQUEST_S = 30.0
"""How long a connection may be silent, a request's head included."""
DRAIN_S = 60.0
"""How long a browser may take for what it was sent."""
MOST_HEAD_BYTES = 32 << 10


class Browser:
    """A browser's end; raises OSError, TimeoutError or h11.RemoteProtocolError when it is gone, slow, or no browser."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.stream = pair(reader, writer)
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)

    @property
    def has_begun(self) -> bool:
        """Whether an answer has begun, which can only be gone on with or cut off."""
        return self._h11.our_state is not h11.SEND_RESPONSE

    async def request(self) -> h11.Request | None:
        """The next request; None when there is none, or it has a body, for which there is no use here."""
        if self._h11.our_state is h11.DONE:
            if self._h11.their_state is not h11.DONE:
                return None
            self._h11.start_next_cycle()
        elif self._h11.our_state is not h11.IDLE:
            return None
        return await asyncio.wait_for(self._request(), REQUEST_S)

    async def _request(self) -> h11.Request | None:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.reader.read(BLOCK))
        if not isinstance(event, h11.Request) or not isinstance(self._h11.next_event(), h11.EndOfMessage):
            return None
        return event

    async def say(self, notice: Notice, more: Headers, *, head: bool) -> None:
        """Answer with a page of words."""
        headers = [(b"Content-Type", b"text/html; charset=utf-8"), *guards(POLICY), *more]
        await self.begin(notice.status, headers, len(notice.body))
        await self.go_on(b"" if head else notice.body)
        await self.finish()

    async def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Send the head of an answer whose body is so many bytes long; None: it has none."""
        sized = [] if length is None else [(b"Content-Length", str(length).encode())]
        await self._send(h11.Response(status_code=status, headers=[*headers, *sized]))

    async def go_on(self, data: bytes) -> None:
        """Send a block of the body."""
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """End the answer."""
        await self._send(h11.EndOfMessage())

    async def upgrade(self, headers: Headers) -> bytes:
        """Agree to a websocket; answers with what the browser has sent of it already."""
        await self._send(h11.InformationalResponse(status_code=101, headers=headers))
        data: bytes = self._h11.trailing_data[0]
        return data

    async def _send(self, event: h11.Event) -> None:
        self.writer.write(self._h11.send(event) or b"")
        await asyncio.wait_for(self.writer.drain(), DRAIN_S)
