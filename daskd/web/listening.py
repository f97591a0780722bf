"""Where browsers connect: a bounded number of connections, on TCP by TLS or on a unix socket."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h11
import structlog

from daskd.drivers.streams import BLOCK
from daskd.model.errors import DaskdError, StateUnusable
from daskd.model.listen import Listener
from daskd.security.sockets import Claim, SocketFile

from .browser import Browser
from .dashboards import Dashboards

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

MOST_CONNECTIONS = 512
HANDSHAKE_S = 10.0
CLOSE_S = 10.0


class DashboardListener:
    """Listens, and has connections served once it was told by whom.

    Parameters
    ----------
    listener
        Where; port 0 takes a free one.
    tls
        What is shown, and asked for, on TCP; None: nothing.
    mode
        Of a unix socket's file.
    """

    def __init__(self, listener: Listener, tls: ssl.SSLContext | None, mode: int) -> None:
        self._listener = listener
        self._tls = tls
        self._mode = mode
        self._server: asyncio.Server | None = None
        self._claim: Claim | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._dashboards: Dashboards | None = None

    async def bind(self) -> str:
        """Take the place; answers with what links to it begin with, as long as no proxy is before it.

        Raises
        ------
        StateUnusable
            When it can't be had.
        """
        try:
            if self._listener.socket is not None:
                await self._bind_file(self._listener.socket)
                return ""
            self._server = await asyncio.start_server(
                self._accept,
                self._listener.host,
                self._listener.port,
                limit=BLOCK,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S,
                start_serving=False,
            )
        except OSError as error:
            raise StateUnusable(
                f"{self._listener} can't be listened on: {error.strerror}: set `web.listen` to a free address",
                facts={"address": str(self._listener)},
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        return f"{'http' if self._tls is None else 'https'}://{replace(self._listener, port=port)}"

    async def _bind_file(self, path: Path) -> None:
        file = SocketFile(path)
        await asyncio.to_thread(file.check)
        self._server = await asyncio.start_unix_server(self._accept, file.draft, limit=BLOCK, start_serving=False)
        self._claim = file.publish(self._mode)

    async def serve(self, dashboards: Dashboards) -> None:
        """Begin to take connections."""
        assert self._server is not None
        self._dashboards = dashboards
        await self._server.start_serving()

    async def stop(self) -> None:
        """Listen no more, and cut every connection. Again: does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if self._claim is not None:
            self._claim.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self._dashboards is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= MOST_CONNECTIONS:
                await self._dashboards.serve(Browser(reader, writer))
                writer.close()
        except (OSError, asyncio.TimeoutError, TimeoutError, h11.ProtocolError, DaskdError):
            pass  # the browser went away, is slow, or is none; or the cluster's answer was cut off in its middle
        except Exception:  # the edge: a bug must not go unseen, nor end the server
            log.exception("a dashboard could not be served")
        finally:
            self._tasks.discard(task)
            await _hung_up(writer)


async def _hung_up(writer: asyncio.StreamWriter) -> None:
    """Let what was closed in good order send its rest; cut off anything else."""
    with suppress(OSError, asyncio.TimeoutError, TimeoutError):
        if writer.is_closing():
            await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
    writer.transport.abort()
