"""A nanny that backs off, says why it ended, and is not fooled by a process that it gave up."""

from __future__ import annotations

import asyncio
import enum
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from distributed import Nanny
from distributed.core import Status

from .supervisor import start_ticks

# WorkerProcess's code for "ended, and nobody knows how": what told us, the forkserver, is gone.
EXIT_CODE_UNKNOWN = 255

# A worker that closes by itself for these has lost its scheduler; for any other it was told to.
LOST_SCHEDULER = (
    "worker-handle-scheduler-connection-broken",
    "worker-heartbeat-missing",
    "worker-heartbeat-error",
)


class NannyEnd(enum.Enum):
    """Why a nanny is no more."""

    TOLD = "told"
    LOST_SCHEDULER = "lost scheduler"
    UNASKED = "unasked"


class Pace:
    """How long to wait before a worker is started again: longer with each that did not live long.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    FIRST = 1.0
    MOST = 30.0
    HEALTHY_AFTER = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._started: float | None = None

    def started(self) -> None:
        """Note that a worker is up."""
        self._started = self._clock()

    def ended(self, *, in_place: bool) -> float:
        """Seconds to wait before the next start.

        Parameters
        ----------
        in_place : bool
            Whether a nanny restarts its own worker: the first time at once, as is distributed's way.
        """
        if self._started is not None and self._clock() - self._started >= self.HEALTHY_AFTER:
            self._failures = 0
        self._started = None
        doublings = self._failures - 1 if in_place else self._failures
        self._failures += 1
        return 0.0 if doublings < 0 else min(self.FIRST * 2.0 ** min(doublings, 10), self.MOST)


def cause_in_words(error: BaseException) -> str:
    """The innermost cause that says anything: distributed wraps it in ones that say nothing."""
    words = type(error).__name__
    seen: BaseException | None = error
    while seen is not None:
        if text := " ".join(str(seen).split()):
            words = f"{type(seen).__name__}: {text}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return words[:500]


def exit_in_words(code: int | None) -> str:
    """How a worker's process ended, from multiprocessing's exit code."""
    if code is None or code == EXIT_CODE_UNKNOWN:
        return "ended in an unknown way"
    if code < 0:
        return f"was killed by signal {-code}"
    return f"exited with code {code}"


class PacedNanny(Nanny):
    """A distributed Nanny whose restarts are paced and told.

    Overrides public methods alone. A worker that can't be restarted closes its nanny, so that whoever
    made it can make another: distributed's own would retry without pause, or never.

    Parameters
    ----------
    *args, **kwargs
        As of `distributed.Nanny`.
    pace : Pace
        Shared by all nannies that one worker has after another.
    on_restart : callable
        Called with words when a worker runs again in place of one that died.
    """

    def __init__(self, *args: Any, pace: Pace, on_restart: Callable[[str], None], **kwargs: Any) -> None:
        self._pace = pace
        self._on_restart = on_restart
        self._told_to_restart = False
        self._worker: tuple[Any, int, int] | None = None  # its process, pid, start in ticks
        self._end_reason: str | None = None
        self.failure: str | None = None
        super().__init__(*args, **kwargs)

    @property
    def end(self) -> NannyEnd:
        """Why it ended; meaningful once it has."""
        if self._end_reason in LOST_SCHEDULER:
            return NannyEnd.LOST_SCHEDULER
        return NannyEnd.UNASKED if self._end_reason is None else NannyEnd.TOLD

    async def instantiate(self) -> Status:
        """Start the worker's process, after a pause where one died before it."""
        if self.is_alive():  # another call has started it
            return await super().instantiate()
        previous, self._worker = self._worker, None
        words = self._bury(previous) if previous else ""
        if previous and not self._told_to_restart:
            await asyncio.sleep(self._pace.ended(in_place=True))
            if self.status is not Status.running:  # closed meanwhile
                return self.status
        try:
            status = await super().instantiate()
        except Exception as error:
            self.failure = f"{words}its next could not start: {cause_in_words(error)}" if words else None
            if previous:
                await self.close(reason="daskd-restart-failed")
            raise
        self._note_start(status, words)
        if previous and status is not Status.running and self.status is Status.running:
            self.failure = f"{words}its next ended while it started; the lines above say why"
            await self.close(reason="daskd-restart-failed")
        return status

    def _note_start(self, status: Status, words: str) -> None:
        process = self.process.process if self.process is not None else None
        if status is not Status.running or process is None or not process.pid or self._worker:
            return
        self._worker = (process, process.pid, start_ticks(process.pid))
        self._pace.started()
        if words:
            self._on_restart(f"{words}restarted as process {process.pid}")

    @staticmethod
    def _bury(worker: tuple[Any, int, int]) -> str:
        """Make sure that a dead worker's process is dead, and say how it died.

        When the forkserver dies its workers live on, and multiprocessing calls them dead.
        """
        process, pid, ticks = worker
        code = process.exitcode
        if code == EXIT_CODE_UNKNOWN and ticks and start_ticks(pid) == ticks:
            os.kill(pid, signal.SIGKILL)
        return f"process {pid} {exit_in_words(code)}, "

    async def restart(self, *args: Any, **kwargs: Any) -> Any:
        """Restart the worker because a client or plugin asked: at once."""
        self._told_to_restart = True
        try:
            return await super().restart(*args, **kwargs)
        finally:
            self._told_to_restart = False

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        """The worker says that it closes and is not to be restarted."""
        # Not our worker: a process that outlived its forkserver, which the scheduler told to close.
        if self.process is None or self.process.status is not Status.running:
            return
        self._end_reason = reason
        super().close_gracefully(reason=reason)

    async def close(self, timeout: float = 5, reason: str = "nanny-close") -> Any:
        """Close the worker's process and stop."""
        # The default reason is a caller's from outside (the handler "terminate"); its own all have names.
        if reason == "nanny-close" and self._end_reason is None and self.status is Status.running:
            self._end_reason = reason
        return await super().close(timeout=timeout, reason=reason)
