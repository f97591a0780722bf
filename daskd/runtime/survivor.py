"""A worker that outlives its scheduler: when the connection breaks it goes, and its results stay for a new worker.

Distributed once let workers reconnect, and gave it up, for a worker's state machine and its scheduler's state did not
agree any more. Here nothing of the old state is taken over: the worker is closed, what it ran is given up, and a new
``Worker`` in the same process starts with a new state machine, from nothing but values that were in memory. Which of
them count the new scheduler decides, by what it knows: see ``resume``.

The process's first worker is its *front*: the process waits for it to finish, and closes it when told to. So it
finishes when the last of its heirs has, and passes on what it is told.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from dask.utils import typename
from distributed import Worker, rpc
from distributed.core import Status

from .nanny import LOST_SCHEDULER
from .reach import Unreachable, probe
from .resume import KEPT, STAMP

logger = logging.getLogger("distributed.worker")

_LOOK_SECONDS = 0.1

_NOT_KEPT = ("shuffle-transfer", "shuffle-barrier", "rechunk-transfer", "hash-join-transfer")
"""Results that only tell that something is in a worker's buffers, which go with it: P2P's."""


class _Kept:
    """Values that a worker leaves to the next one: read one by one, for they may be spilled."""

    def __init__(self, worker: Any) -> None:
        self.run: str = worker.known_run
        self.stamp: tuple[int, int] = worker.known_stamp
        self.sizes: dict[Any, tuple[int, str]] = {}
        self._data = worker.data
        self._workdir = worker._workdir
        # the spilled ones lie in there: it is not the closing worker's any more
        worker._workdir = None
        for key, ts in worker.state.tasks.items():
            if ts.state == "memory" and key in self._data and not str(key).strip("('\"").startswith(_NOT_KEPT):
                self.sizes[key] = (ts.get_nbytes(), typename(ts.type) if ts.type else "")

    def told(self) -> dict[str, Any]:
        """What the scheduler is told of them."""
        return {"run": self.run, "stamp": self.stamp, "sizes": dict(self.sizes)}

    def give_to(self, worker: Any) -> None:
        """Put them into a worker's memory, in one step of its loop."""
        for key in list(self.sizes):
            worker.update_data({key: self._data[key]})
            del self._data[key]

    def drop(self) -> None:
        """Let go of them, and of the directory of those that were spilled."""
        self._data = {}
        self.sizes.clear()
        if self._workdir is not None:
            self._workdir.release()
            self._workdir = None


class Line:
    """The workers that a process has one after the other, all but the first, its front.

    Parameters
    ----------
    make : callable
        Makes a worker as the front was made.
    front : Worker
        Which is about to close.
    kept : _Kept
        What it leaves.
    """

    def __init__(self, make: Callable[[], Any], front: Any, kept: _Kept) -> None:
        self._make = make
        self._front = front
        self._heir: Any = None
        self.left: _Kept | None = kept
        self.is_told_to_end = False
        self.ended = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        await self._front.closed()
        self._front.state.tasks.clear()  # it stays for as long as the process does, and they may be large
        while self.left is not None and not self.is_told_to_end:
            kept, self.left = self.left, None
            logger.info("A new worker goes on in this process, with %d results of the one before it", len(kept.sizes))
            try:
                await self._wait_for_scheduler()
                self._heir = heir = self._make()
                heir.succeed(self, kept)
                await heir
            except asyncio.CancelledError:
                kept.drop()
                raise
            except Exception as error:  # a start raises whatever a plugin or preload does, and OSError, TimeoutError
                logger.warning("There is no scheduler for it: %s: %s", type(error).__name__, error)
                kept.drop()
                await self._tell_nanny()
                return
            await heir.closed()

    async def _wait_for_scheduler(self) -> None:
        """Return when the scheduler is there, or `death_timeout` is over: a worker's own start would say that.

        Distributed's ``connect`` pauses longer each time, up to seconds, and others wait for what is kept here.
        """
        address, security = self._front.scheduler.address, self._front.security
        deadline = time.monotonic() + (self._front.death_timeout or 0.0)
        while time.monotonic() < deadline:
            try:
                await probe(address, security)
            except Unreachable:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    async def _tell_nanny(self) -> None:
        """Let the nanny know that this process ends for want of a scheduler, as a worker's closing does."""
        if not self._front.nanny or self.is_told_to_end:
            return
        try:
            async with rpc(self._front.nanny, connection_args=self._front.connection_args) as nanny:
                await nanny.close_gracefully(reason=LOST_SCHEDULER[0])
        except OSError as error:
            logger.info("The nanny is not there: %s", error)

    async def end(self, *args: Any, **kwargs: Any) -> None:
        """Close whichever worker there is."""
        self.is_told_to_end = True
        if self._heir is not None:
            await self._heir.close(*args, **kwargs)
        self.ended.cancel()  # it may be looking for a scheduler still
        await asyncio.wait([self.ended])


class Surviving:
    """What a worker's class is mixed with so that its results outlive its scheduler.

    Relies on the base class closing itself with a reason of `LOST_SCHEDULER` when its scheduler is gone, on its
    ``finished()`` being what its process waits for, and on ``start_unsafe()`` ending with its registration.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._anew = functools.partial(type(self), *args, **kwargs)
        self._line: Line | None = None
        self._is_front = True
        self._kept: _Kept | None = None  # by the worker before this one
        self.known_run = ""
        """The run of the cluster that the scheduler told of; empty: none, and nothing outlives it."""
        self.known_stamp = (0, 0)
        super().__init__(*args, **kwargs)
        self.stream_handlers[STAMP] = self.learn  # type: ignore[attr-defined]
        self.startup_information[KEPT] = lambda worker: worker.told_kept()  # type: ignore[attr-defined]

    def succeed(self, line: Line, kept: _Kept) -> None:
        """Be the heir of a worker that left something; before it is started."""
        self._line, self._kept, self._is_front = line, kept, False

    def learn(self, run: str, stamp: Any) -> None:
        """Stream operation: the graphs that had come when what follows was sent."""
        number, count = stamp
        self.known_run, self.known_stamp = str(run), (int(number), int(count))

    def told_kept(self) -> dict[str, Any]:
        """What was kept of the worker before this one, for the scheduler."""
        return self._kept.told() if self._kept is not None else {}

    async def start_unsafe(self) -> Any:
        """Register, and have in memory what was kept before a message of the scheduler is read."""
        result = await super().start_unsafe()  # type: ignore[misc]
        if self._kept is not None:
            self.known_run, self.known_stamp = self._kept.run, self._kept.stamp
            self._kept.give_to(self)
            self._kept.drop()
            self._kept = None
        return result

    def _may_be_succeeded(self, reason: Any) -> bool:
        is_up = self.status in (Status.running, Status.paused)  # type: ignore[attr-defined]
        is_wanted = self._line is None or not self._line.is_told_to_end
        return reason in LOST_SCHEDULER and bool(self.known_run) and is_up and is_wanted

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        """Close; for want of a scheduler alone, in favour of an heir."""
        if self._is_front and self._line is not None:
            if kwargs.get("reason") in LOST_SCHEDULER:  # it notices in more ways than one
                await self.closed()
            else:
                await self._line.end(*args, **kwargs)
            return None
        if not self._may_be_succeeded(kwargs.get("reason")):
            return await super().close(*args, **kwargs)  # type: ignore[misc]
        kept = _Kept(self)
        if self._line is None:
            self._line = Line(self._anew, self, kept)
        else:
            self._line.left = kept
        # what runs is given up: it runs again, and nobody waits for its threads
        return await super().close(executor_wait=False, nanny=False, reason=kwargs["reason"])  # type: ignore[misc]

    async def closed(self) -> None:
        """Return once this worker has closed, whoever goes on in its place."""
        await super().finished()  # type: ignore[misc]

    async def finished(self) -> None:
        """Return once the process has no worker any more, for its first; for others as :meth:`closed`."""
        await super().finished()  # type: ignore[misc]
        if self._is_front and self._line is not None:
            await asyncio.wait([self._line.ended])
            if not self._line.ended.cancelled() and (error := self._line.ended.exception()):
                logger.error("No worker can go on in this process", exc_info=error)


class SurvivingWorker(Surviving, Worker):
    """A distributed worker whose results outlive its scheduler."""


def surviving(base: type[Worker] | None, *args: Any, **kwargs: Any) -> Any:
    """Make a worker of a class whose results outlive its scheduler; None: distributed's own."""
    return type(base.__name__, (Surviving, base), {})(*args, **kwargs) if base else SurvivingWorker(*args, **kwargs)
