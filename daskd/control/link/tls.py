"""TLS over any stream; asyncio's own knows sockets alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from daskd.drivers.streams import BLOCK, Stream

T = TypeVar("T")


class TlsStream:
    """The client's end of TLS within another stream; made by `over`."""

    def __init__(self, raw: Stream, context: ssl.SSLContext, name: str) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    @classmethod
    async def over(cls, raw: Stream, context: ssl.SSLContext, name: str) -> TlsStream:
        """Agree with who is at the other end, who must prove to be of that name.

        Raises
        ------
        OSError
            When it is somebody else (`ssl.SSLError`), or the stream broke.
        """
        stream = cls(raw, context, name)
        await stream._until(stream._tls.do_handshake)
        return stream

    async def receive(self) -> bytes:
        """What has come, deciphered."""
        try:
            return await self._until(lambda: self._tls.read(BLOCK))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def send(self, data: bytes) -> None:
        """Send it, ciphered."""
        if data:
            await self._until(lambda: self._tls.write(data))

    def close(self) -> None:
        """Hang up."""
        self._raw.close()

    async def _until(self, step: Callable[[], T]) -> T:
        """Do a step, and what it needs to be sent and received for it."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._raw.receive():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                # what has come already is read without waiting: others, and a time limit, have their turn here
                await asyncio.sleep(0)
                continue
            except ssl.SSLError:
                # why it is refused is told the other end, if it still listens
                await self._flush()
                raise
            await self._flush()
            return done

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._raw.send(data)
