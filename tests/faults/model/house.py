"""A whole daemon in this process and in simulated time: its composition, its store, its API, over simulated systems."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any, TypeVar

import structlog

import daskd
from daskd import crashpoints
from daskd.config import parse_config
from daskd.daemon import Daemon, Place
from daskd.drivers import registry
from daskd.model import names
from daskd.model.cluster import Role
from daskd.notify import Notifier
from daskd_client import AsyncDaskd
from daskd_client import DaskdError as ClientError

from ..checker import Breach, Evidence, breaches_always
from ..evidence import gathered, recorded
from .clock import Clock, SimulatedLoop, told_by
from .driver import AWAY, LOCAL, Faults, SimulatedDriver, TroubleError
from .system import Systems

T = TypeVar("T")

CONFIG = """
[daemon]
orphan_grace = 30
[clusters]
max_launch_failures = 1000
max_scheduler_restarts = 1000
"""
"""A cluster never fails for good: so what must come of it is plain."""

PACKAGE = str(Path(daskd.__file__).parent)


class KilledError(asyncio.CancelledError):
    """The daemon dies here."""


def _is_of_daemon(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return isinstance(code, CodeType) and code.co_filename.startswith(PACKAGE)


class House:
    """A daemon, dead or alive, and all around it. Made within `house`.

    Attributes
    ----------
    systems
        What runs, whether or not the daemon does.
    faults
        What is wrong with each driver.
    bugs
        What the daemon's log says of errors that nobody caused.
    """

    has_faults = True

    def __init__(self, folder: Path, loop: SimulatedLoop, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.systems = Systems(loop, clock, folder / "run" / "links")
        self.faults = {name: Faults() for name in (LOCAL, AWAY)}
        self.bugs: list[str] = []
        self._loop = loop
        self._daemon: Daemon | None = None
        self._client: AsyncDaskd | None = None
        self._died = asyncio.Event()

    @property
    def state_dir(self) -> Path:
        """Where the state is."""
        return self.folder / "state"

    @property
    def is_up(self) -> bool:
        """Whether there is a daemon."""
        return self._daemon is not None

    def now(self) -> float:
        """The wall clock."""
        return self.clock.time()

    async def start(self) -> None:
        """Start a daemon on the state."""
        assert self._daemon is None
        self._died = died = asyncio.Event()
        config = parse_config(CONFIG, self.folder / "daskd.toml")
        drivers = {
            name: SimulatedDriver(name, self.systems, faults, died.is_set) for name, faults in self.faults.items()
        }
        points = [SimpleNamespace(name=name, load=lambda each=each: lambda: each) for name, each in drivers.items()]
        registry.entry_points = lambda group: points  # type: ignore[attr-defined]
        socket = self.folder / "run" / "daskd.sock"
        where = Place(self.state_dir, self.folder / "run", (f"unix:{socket}",), "0" * 32)
        self._daemon = Daemon(config, where, lambda: config, Notifier(""))
        with self._loop.still():
            await self._daemon.start()
        self._client = AsyncDaskd(f"unix:{socket}")

    async def stop(self) -> None:
        """Stop the daemon in good order."""
        if self._daemon is not None:
            assert self._client is not None
            await self._client.close()
            await self._daemon.stop()
            self._daemon = self._client = None

    async def kill(self) -> None:
        """kill -9: whatever it is about to do is not done."""
        if self._daemon is not None:
            self._die()
            await self._bury()

    def arm(self, point: str) -> None:
        """Let the daemon die when it gets there next."""
        crashpoints._armed[point] = 1

    async def reload(self) -> None:
        """SIGHUP."""
        if self._daemon is not None:
            with contextlib.suppress(KilledError):
                await self._daemon.reload()
            await self._rise()

    async def let(self, seconds: float) -> None:
        """Let time pass; a daemon that dies meanwhile of an armed point is started again at once."""
        waiting = asyncio.ensure_future(asyncio.sleep(seconds))
        while not waiting.done():
            dying = asyncio.ensure_future(self._died.wait())
            await asyncio.wait({waiting, dying}, return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            await self._rise()

    async def ask(self, call: Callable[[AsyncDaskd], Awaitable[T]]) -> T:
        """What the API answers; a daemon that dies of the question is started again, and asked again."""
        while True:
            assert self._client is not None
            asking = asyncio.ensure_future(call(self._client))
            dying = asyncio.ensure_future(self._died.wait())
            with self._loop.patient():
                await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            if not self._died.is_set():
                return asking.result()
            asking.cancel()
            answer = (await asyncio.gather(asking, return_exceptions=True))[0]
            await self._rise()
            if not isinstance(answer, (asyncio.CancelledError, ClientError)):
                return asking.result()

    def find(self, uid: str, role: Role, n: int) -> Any:
        """One of what runs of a cluster; None: nothing does."""
        alive = self.systems.alive(uid, role)
        return alive[n % len(alive)] if alive else None

    def kill_instance(self, uid: str, role: Role, n: int) -> None:
        """kill -9 of a node, or of the scheduler."""
        if (job := self.find(uid, role, n)) is not None:
            self.systems.kill(job)

    def kill_worker(self, uid: str, n: int) -> None:
        """kill -9 of a node's workers."""
        if (job := self.find(uid, Role.NODE, n)) is not None:
            self.systems.kill_worker(job)

    def heal(self) -> None:
        """Whatever was wrong is right again."""
        for name in self.faults:
            vars(self.faults[name]).update(vars(Faults()))
        self.systems.stubborn.clear()
        self.systems.queue.clear()
        for job in self.systems.jobs.values():
            if job.hub is not None:
                job.hub.hangs = job.hub.refuses = False

    async def evidence(self) -> Evidence:
        """All there is to know."""
        return await self.ask(
            lambda daskd: gathered(self.state_dir, daskd, self.systems.things(), self.systems.launches)
        )

    def wrong_now(self) -> list[Breach]:
        """What must never be."""
        said = recorded(self.state_dir)
        things, launches = tuple(self.systems.things()), self.systems.launches
        return breaches_always(Evidence(said.clusters, said.instances, things, launches))

    async def close(self) -> None:
        """End everything."""
        crashpoints._armed.clear()
        await self.stop()
        self.systems.close()
        await asyncio.sleep(1.0)

    async def _rise(self) -> None:
        if self._died.is_set():
            await self._bury()
            await self.start()

    def _die(self) -> None:
        self._died.set()
        for task in asyncio.all_tasks(self._loop):
            if _is_of_daemon(task):
                task.cancel()

    def _kill(self, *_: int) -> None:
        """In the place of `os.kill`."""
        self._die()
        raise KilledError

    async def _bury(self) -> None:
        """What the kernel does for a process that was killed: its sockets and its files are closed."""
        daemon, client = self._daemon, self._client
        assert daemon is not None
        assert client is not None
        self._daemon = self._client = None
        await client.close()
        assert daemon._server is not None
        assert daemon._store is not None
        await daemon._server.stop(0)
        while left := [task for task in asyncio.all_tasks(self._loop) if _is_of_daemon(task)]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        await daemon._store.close()
        crashpoints._armed.clear()
        self._died = asyncio.Event()

    def hear(self, _logger: Any, _method: str, said: dict[str, Any]) -> Any:
        """Read the daemon's log for errors that no test caused."""
        error = said.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        caused = isinstance(error, (TroubleError, TimeoutError, asyncio.TimeoutError, asyncio.CancelledError))
        is_failed_pass = said["event"] == "a pass failed; it is tried again"
        if (error and not caused) or is_failed_pass:
            self.bugs.append(f"{said} {error!r}")
        raise structlog.DropEvent


@contextlib.contextmanager
def house(seed: int) -> Iterator[tuple[House, SimulatedLoop]]:
    """A place for daemons in simulated time; `seed` makes the ids of their things."""
    folder = Path(tempfile.mkdtemp(prefix="dkm-", dir="/tmp"))
    (folder / "run").mkdir(mode=0o700)
    clock = Clock()
    loop = SimulatedLoop(clock)
    asyncio.set_event_loop(loop)
    made = House(folder, loop, clock)
    loop.set_exception_handler(lambda _, context: made.bugs.append(str(context)))
    configured, chance = structlog.get_config(), random.Random(seed)
    entry_points, real_names, real_points = registry.entry_points, names.os, crashpoints.os
    structlog.configure(processors=[made.hear], cache_logger_on_first_use=False)
    names.os = SimpleNamespace(urandom=chance.randbytes)  # type: ignore[attr-defined]
    crashpoints.os = SimpleNamespace(kill=made._kill, getpid=lambda: 0)  # type: ignore[attr-defined]
    try:
        with told_by(clock):
            yield made, loop
            loop.run_until_complete(made.close())
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        registry.entry_points, names.os, crashpoints.os = entry_points, real_names, real_points  # type: ignore[attr-defined]
        structlog.configure(**configured)
        loop.close()
        asyncio.set_event_loop(None)
        shutil.rmtree(folder, ignore_errors=True)
