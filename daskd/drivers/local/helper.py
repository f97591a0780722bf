"""The hands of a root daemon for one owner: a process that runs as that owner, and does what a `LocalSite` does.

`python -s -m daskd.drivers.local.helper`, its stdin a stream socket to the daemon. Whatever it opens, starts or ends,
it does with the owner's rights alone; it was never anybody else. It ends when the daemon hangs up.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from daskd.drivers.protocol import Health, LogChunk, Outcome, Snapshot

from . import wire
from .site import LocalSite

_BLOCK = 256 * 1024
_MOST_DESCRIPTORS = 64


class Inbox:
    """The daemon's messages, with the descriptors that came along."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()
        self._descriptors: list[int] = []

    async def messages(self) -> AsyncIterator[tuple[dict[str, Any], dict[str, socket.socket]]]:
        """Each request, and the sockets that it names; ends when the daemon hangs up."""
        while await self._receive():
            *lines, rest = bytes(self._data).split(b"\n")
            self._data = bytearray(rest)
            for line in filter(None, lines):
                message = json.loads(line)
                yield message, {name: self._next_socket() for name in message["descriptors"]}

    def _next_socket(self) -> socket.socket:
        return socket.socket(fileno=self._descriptors.pop(0))

    async def _receive(self) -> bool:
        await self._readable()
        data, descriptors, flags, _ = socket.recv_fds(self._connection, _BLOCK, _MOST_DESCRIPTORS)
        if flags & socket.MSG_CTRUNC:
            raise OSError("descriptors were lost: too many are open here")
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        self._data += data
        return bool(data)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._connection, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._connection)


class Helper:
    """Serves one daemon's requests, several at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._site: LocalSite | None = None
        self._links: dict[str, socket.socket] = {}
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._does: dict[str, Callable[[Any], Awaitable[object]]] = {
            "open": self._open,
            "check": self._check,
            "stage": lambda staging: self._opened.stage(staging.payload),
            "launch": self._launch,
            "observe": self._observe,
            "terminate": self._terminate,
            "logs": self._logs,
            "unstage": lambda cluster: self._opened.unstage(cluster),
            "forget": lambda cluster: self._opened.forget(cluster),
        }

    async def serve(self) -> None:
        """Serve until the daemon hangs up."""
        async for message, links in Inbox(self._connection).messages():
            self._links.update(links)
            task = asyncio.create_task(self._serve(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: dict[str, Any]) -> None:
        number, operation = message["id"], wire.OPERATIONS[message["op"]]
        try:
            arguments = operation.arguments.validate_python(message["arguments"])
            line = wire.answer(number, operation, await self._does[operation.name](arguments))
        except Exception as error:  # the edge: whatever went wrong is the answer, and the next request is served
            line = wire.failure(number, _words(error))
        async with self._sending:
            with suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(self._connection, line)

    @property
    def _opened(self) -> LocalSite:
        if self._site is None:
            raise RuntimeError("the first request must be `open`")
        return self._site

    async def _open(self, opening: wire.Opening) -> None:
        if os.geteuid() == 0 or opening.who.uid != os.geteuid() or os.geteuid() != os.getuid():
            raise PermissionError(f"this helper runs as uid {os.geteuid()}, and should as {opening.who.uid}")
        self._site = LocalSite(opening.who, opening.surroundings, bind_sockets=self._take_sockets)

    def _take_sockets(self, instance: str, _with_dashboard: bool) -> socket.socket:
        try:
            return self._links.pop(instance)
        except KeyError:
            raise OSError("its sockets were handed over to an earlier launch") from None

    async def _check(self, _: None) -> Health:
        return await self._opened.check()

    async def _launch(self, launching: wire.Launching) -> list[Outcome]:
        try:
            return await self._opened.launch(launching.batch, launching.handles)
        finally:
            for member in launching.batch.members:
                if link := self._links.pop(member.id, None):
                    link.close()

    async def _observe(self, observing: wire.Observing) -> Snapshot:
        return await self._opened.observe(observing.known, observing.deep)

    async def _terminate(self, terminating: wire.Terminating) -> list[Outcome]:
        return await self._opened.terminate(terminating.handles, terminating.force)

    async def _logs(self, reading: wire.Reading) -> LogChunk | None:
        return await anext(self._opened.logs(reading.handle, reading.cursor, reading.since), None)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def main() -> None:
    """Serve the socket that is stdin."""
    connection = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    connection.setblocking(False)
    asyncio.run(Helper(connection).serve())


if __name__ == "__main__":
    main()
