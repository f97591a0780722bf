"""Byte streams, whatever carries them: a socket of this machine, TCP, a channel of an SSH connection."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

BLOCK = 64 << 10


class Stream(Protocol):
    """Bytes both ways. Sending and receiving may go on at the same time, each by one task.

    Methods raise OSError when the other end, or the way there, is gone.
    """

    async def receive(self) -> bytes:
        """What has come, at most `BLOCK` bytes; empty once the other end has hung up."""

    async def send(self, data: bytes) -> None:
        """Send all of it; waits while the other end does not take it."""

    def close(self) -> None:
        """Hang up at once, whatever is under way."""


class Pair:
    """A stream of a reader and a writer of asyncio, or of what is like them.

    Parameters
    ----------
    abort
        Cuts the connection off.
    """

    def __init__(self, reader: Any, writer: Any, abort: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._abort = abort

    async def receive(self) -> bytes:
        """What has come."""
        data: bytes = await self._reader.read(BLOCK)
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """Hang up."""
        self._abort()


def pair(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Pair:
    """A stream of asyncio's own."""
    return Pair(reader, writer, writer.transport.abort)


async def tcp(host: str, port: int) -> Stream:
    """A stream by TCP.

    Raises
    ------
    OSError
        When nobody answers there.
    """
    return pair(*await asyncio.open_connection(host, port, limit=BLOCK))
