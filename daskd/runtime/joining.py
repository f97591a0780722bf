"""The node's side of the scheduler's process: asking to join, telling of workers, noticing its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from distributed.comm import Comm, CommClosedError, connect, get_address_host
from distributed.core import send_recv
from distributed.security import Security

from .exits import Ended, ExitCode
from .reach import Unreachable
from .spec import NodeSpec
from .versions import own_versions

logger = logging.getLogger("daskd.node")

ANSWER_TIMEOUT = 10.0
EVENTS_KEPT = 200


class Hub:
    """The scheduler at one address, over Dask's comm.

    Parameters
    ----------
    security : Security
        What the node shows and trusts.
    spec : NodeSpec
        Who the node is.
    """

    def __init__(self, security: Security, spec: NodeSpec) -> None:
        self._connection_args = security.get_connection_args("worker")
        self._spec = spec
        self._events: asyncio.Queue[tuple[str, str]] = asyncio.Queue(EVENTS_KEPT)
        self._joined: Comm | None = None
        self.address: str | None = None
        self.host = spec.host

    async def _connect(self, address: str) -> Comm:
        return await connect(address, timeout=ANSWER_TIMEOUT, **self._connection_args)

    async def join(self, address: str) -> None:
        """Ask the scheduler at `address` whether this instance may bring workers.

        The connection stays open, so that its end tells of the scheduler's.

        Raises
        ------
        Ended
            If the instance is fenced, or has a `distributed` that the scheduler's does not go with.
        Unreachable
            If there is no answer, or one that is no answer.
        """
        self.leave()
        spec = self._spec
        try:
            self._joined = await self._connect(address)
            self.host = spec.host or get_address_host(str(self._joined.local_address))
            asking = send_recv(
                self._joined,
                op="daskd_join",
                instance=spec.instance,
                incarnation=spec.incarnation,
                group=spec.group,
                workers=list(spec.workers),
                pid=os.getpid(),
                host=self.host,
                versions=dict(own_versions()),
            )
            answer = await asyncio.wait_for(asking, ANSWER_TIMEOUT)
        except asyncio.TimeoutError as error:
            words = f"{address} did not answer daskd_join in {ANSWER_TIMEOUT:g} s: busy, or no scheduler of daskd"
            raise Unreachable("dask", words) from error
        except Exception as error:  # Dask raises here whatever was raised in the scheduler's process
            raise Unreachable("dask", f"{address} failed at daskd_join: {type(error).__name__}: {error}") from error
        result = answer.get("result") if isinstance(answer, dict) else None
        if result == "fenced":
            raise Ended(ExitCode.FENCED, str(answer.get("words") or ""))
        if result == "incompatible":
            raise Ended(ExitCode.INCOMPATIBLE, str(answer.get("words") or ""))
        if result != "ok":
            raise Unreachable("dask", f"{address} answered daskd_join with {answer!r:.200}")
        self.address = address

    def leave(self) -> None:
        """Let the connection of the last join go."""
        if self._joined is not None:
            self._joined.abort()
            self._joined = None

    async def lost(self) -> None:
        """Return once the connection of the last join is gone; a worker that is busy may notice far later."""
        if self._joined is None:
            return
        # A scheduler sends nothing here of its own; were it to, the connection would still be there.
        with contextlib.suppress(CommClosedError, OSError):
            while True:
                await self._joined.read()

    def tell(self, event: str, words: str) -> None:
        """Queue an event for the scheduler; the log has it whether or not it gets there."""
        logger.log(logging.WARNING if event == "worker-failed" else logging.INFO, "%s: %s", event, words)
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait((event, words))

    async def deliver(self) -> None:
        """Send events as they come, in order, until cancelled."""
        while True:
            event, words = await self._events.get()
            if self.address is None:
                continue
            try:
                await asyncio.wait_for(self._send(self.address, event, words), ANSWER_TIMEOUT)
            except Exception as error:  # as in join; an event that is lost is in the log, and the loop goes on
                logger.warning("the scheduler did not take the event %s: %s", event, error)

    async def _send(self, address: str, event: str, words: str) -> None:
        comm = await self._connect(address)
        try:
            told = {"instance": self._spec.instance, "event": event, "words": words}
            await send_recv(comm, op="daskd_node_event", close=True, **told)
        finally:
            comm.abort()
