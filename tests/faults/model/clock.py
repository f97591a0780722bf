"""Simulated time: an event loop that leaps to what is due next, and the clock that the daemon's modules read.

Nothing waits in real time but for threads: while work is under way in one of them, or a call in gRPC's, time stands
still. So an hour of a cluster's life takes as long as its work, and goes the same way each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import sys
import time as real
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

PATIENCE = 60.0
"""Real seconds after which a thread that has not answered hangs."""

MOMENT = 0.05
"""Real seconds that a call through gRPC's threads is given before time goes on: it may wait for that."""


class Clock:
    """What `daskd`'s modules know as `time`: simulated; whatever else they use of it is the real one's.

    Attributes
    ----------
    passed
        Simulated seconds since it began: monotonic.
    set_by
        Seconds by which somebody has set the wall clock since then.
    """

    def __init__(self) -> None:
        self._began = real.time()
        self.passed = 0.0
        self.set_by = 0.0

    def time(self) -> float:
        """Unix seconds."""
        return self._began + self.passed + self.set_by

    def monotonic(self) -> float:
        """Seconds that nobody can set."""
        return self.passed

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)


@contextlib.contextmanager
def told_by(clock: Clock) -> Iterator[None]:
    """Within, every module of the daemon that is loaded reads this clock."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "daskd" and getattr(module, "time", None) is real
    ]
    for module in modules:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.time = real  # type: ignore[attr-defined]


class _Leaping(selectors.BaseSelector):
    """Waits for descriptors in no time: the clock leaps by as long as it would have waited."""

    def __init__(self, clock: Clock, patience: Callable[[], float]) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock
        self._patience = patience

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        patience = PATIENCE if timeout is None else self._patience()
        if patience and (ready := self._real.select(patience)):
            return ready
        assert patience < PATIENCE, f"a thread has not answered for {PATIENCE:g} s"
        self._clock.passed += timeout or 0.0
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy = 0
        self._calls = 0
        super().__init__(_Leaping(clock, self._patience))

    def _patience(self) -> float:
        if self._busy:
            return PATIENCE
        return MOMENT if self._calls else 0.0

    def time(self) -> float:
        """Simulated seconds."""
        return self._clock.passed

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        """As any loop's; time stands still until it has an answer."""
        future = super().run_in_executor(executor, func, *args)
        self._busy += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Any) -> None:
        self._busy -= 1

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Within, time stands still: what is waited for comes from a thread that the loop does not know."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Within, time goes on only when nothing has happened for a real moment: a call may be on its way."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
