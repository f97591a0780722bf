"""A small HTTP/1.1 server for pages that are made whole: one request a connection, bounded in size, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import h11
import structlog

from daskd.model.errors import DaskdError, StateUnusable
from daskd.security.sockets import Claim, SocketFile

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TIMEOUT_S = 10.0
MOST_CONNECTIONS = 16
MOST_HEAD_BYTES = 16 << 10
SOCKET_MODE = 0o600

Page = Callable[[], Awaitable[bytes]]


class PageServer:
    """Serves pages by their path.

    Parameters
    ----------
    address
        "HOST:PORT", or "unix:" and an absolute path.
    pages
        Path to content type and page.
    """

    def __init__(self, address: str, pages: Mapping[str, tuple[str, Page]]) -> None:
        self._address = address
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._claim: Claim | None = None
        self._connections = 0
        self.port: int | None = None

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        StateUnusable
            When the address can't be listened on.
        """
        try:
            if self._address.startswith("unix:"):
                file = SocketFile(Path(self._address.removeprefix("unix:")))
                await asyncio.to_thread(file.check)
                self._server = await asyncio.start_unix_server(self._serve, file.draft, limit=MOST_HEAD_BYTES)
                self._claim = file.publish(SOCKET_MODE)
                return
            host, _, port = self._address.rpartition(":")
            self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=MOST_HEAD_BYTES)
            self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise StateUnusable(
                f"{self._address} can't be listened on: {error.strerror}: set `daemon.metrics` to a free address",
                facts={"address": self._address},
            ) from error

    async def stop(self) -> None:
        """Listen no more. Again: does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._connections >= MOST_CONNECTIONS:
                return
            self._connections += 1
            try:
                await asyncio.wait_for(self._exchange(reader, writer), TIMEOUT_S)
            finally:
                self._connections -= 1
        except (OSError, asyncio.TimeoutError, TimeoutError, h11.RemoteProtocolError):
            pass  # the other side went away, was slow, or speaks no HTTP: its loss
        except Exception:  # the edge: a bug in a page must not go unseen, nor end the server
            log.exception("a page could not be served")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(MOST_HEAD_BYTES))
        if not isinstance(event, h11.Request):
            return
        status, kind, body = await self._answer(event)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
        head = event.method == b"HEAD"
        for part in (h11.Response(status_code=status, headers=headers), h11.Data(data=b"" if head else body)):
            writer.write(connection.send(part) or b"")
        await writer.drain()

    async def _answer(self, request: h11.Request) -> tuple[int, str, bytes]:
        text = "text/plain; charset=utf-8"
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        if request.method not in (b"GET", b"HEAD"):
            return 405, text, b"only GET is served here\n"
        if path not in self._pages:
            return 404, text, f"there is {', '.join(self._pages)} here\n".encode()
        kind, page = self._pages[path]
        try:
            return 200, kind, await page()
        except DaskdError as error:
            return 503, text, f"{error.words}\n".encode()
