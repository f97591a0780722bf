"""The node's side of the scheduler's process: asking to join, telling what happens to workers."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from distributed.core import rpc
from distributed.security import Security
from distributed.versions import get_versions

from .exits import Ended, ExitCode
from .reach import Unreachable
from .spec import NodeSpec

logger = logging.getLogger("daskd.node")

ANSWER_TIMEOUT = 10.0
EVENTS_KEPT = 200


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that scheduler and workers must agree on."""
    told = get_versions()
    packages = {name: str(version) for name, version in told["packages"].items() if version}
    return {**packages, "python": ".".join(told["host"]["python"].split(".")[:3])}


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
        self.address: str | None = None

    async def _call(self, address: str, op: str, **message: Any) -> Any:
        async with rpc(address, timeout=ANSWER_TIMEOUT, connection_args=self._connection_args) as scheduler:
            return await asyncio.wait_for(getattr(scheduler, op)(**message), ANSWER_TIMEOUT)

    async def join(self, address: str) -> None:
        """Ask the scheduler at `address` whether this instance may bring workers.

        Raises
        ------
        Ended
            If the instance is fenced.
        Unreachable
            If there is no answer, or one that is no answer.
        """
        spec = self._spec
        try:
            answer = await self._call(
                address,
                "daskd_join",
                instance=spec.instance,
                incarnation=spec.incarnation,
                group=spec.group,
                workers=list(spec.workers),
                pid=os.getpid(),
                host=spec.host,
                versions=versions(),
            )
        except asyncio.TimeoutError as error:
            words = f"{address} did not answer daskd_join in {ANSWER_TIMEOUT:g} s: busy, or no scheduler of daskd"
            raise Unreachable("dask", words) from error
        except Exception as error:  # Dask raises here whatever was raised in the scheduler's process
            raise Unreachable("dask", f"{address} failed at daskd_join: {type(error).__name__}: {error}") from error
        result = answer.get("result") if isinstance(answer, dict) else None
        if result == "fenced":
            raise Ended(ExitCode.FENCED, str(answer.get("words") or ""))
        if result != "ok":
            raise Unreachable("dask", f"{address} answered daskd_join with {answer!r:.200}")
        self.address = address

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
                await self._call(
                    self.address, "daskd_node_event", instance=self._spec.instance, event=event, words=words
                )
            except Exception as error:  # as in join; an event that is lost is in the log, and the loop goes on
                logger.warning("the scheduler did not take the event %s: %s", event, error)
