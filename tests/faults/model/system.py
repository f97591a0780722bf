"""The simulated systems on which things run, whatever becomes of the daemon that launched them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daskd.drivers.protocol import Batch, Member
from daskd.model.cluster import Cause, End, Role, State

from ..checker import Thing
from .clock import Clock, SimulatedLoop
from .scheduler import SimulatedScheduler

START = 0.5
"""Seconds from a launch until it runs."""

DYING = 0.2
"""Seconds from a word to end until the end."""

DEATH_TIMEOUT = 3.0
"""Seconds after which a node whose scheduler is gone ends itself."""

SCHEDULER_GONE, FENCED = 85, 83
"""Exit codes of a node."""


@dataclass
class Job:
    """What was launched under an id."""

    id: str
    driver: str
    cluster: str
    role: Role
    workers: tuple[str, ...]
    scheduler: str
    launched: float
    state: State = State.STARTING
    end: End | None = None
    hub: SimulatedScheduler | None = None
    left: set[str] = field(default_factory=set)
    is_restarting: bool = False

    @property
    def alive(self) -> bool:
        """Whether it exists."""
        return self.end is None


class Systems:
    """All that runs, under any driver.

    Parameters
    ----------
    links
        The folder of the schedulers' sockets.

    Attributes
    ----------
    queue
        Seconds that a node waits before it starts, by driver.
    stubborn
        Drivers whose things can't be ended.
    launches
        How often each id was launched.
    staged
        Clusters whose keys lie there.
    """

    def __init__(self, loop: SimulatedLoop, clock: Clock, links: Path) -> None:
        self._loop = loop
        self.clock = clock
        self.links = links
        self.jobs: dict[str, Job] = {}
        self.queue: Counter[str] = Counter()
        self.stubborn: set[str] = set()
        self.launches: Counter[str] = Counter()
        self.staged: set[tuple[str, str]] = set()
        self.loads: Counter[str] = Counter()
        self._ports = 20000
        self._starting: set[asyncio.Task[None]] = set()

    def things(self) -> list[Thing]:
        """What exists."""
        return [Thing(job.id, job.cluster) for job in self.jobs.values() if job.alive]

    def alive(self, cluster: str, role: Role) -> list[Job]:
        """What exists of a cluster."""
        return [job for job in self.jobs.values() if job.alive and job.cluster == cluster and job.role is role]

    def scheduler(self, cluster: str) -> SimulatedScheduler | None:
        """The scheduler of a cluster, if one is up."""
        return next((job.hub for job in self.alive(cluster, Role.SCHEDULER) if job.hub is not None), None)

    def launch(self, driver: str, batch: Batch, member: Member) -> None:
        """Start one instance."""
        self.launches[member.id] += 1
        if member.id in self.jobs:
            return
        now = self.clock.passed
        job = Job(member.id, driver, batch.cluster, batch.role, member.workers, batch.scheduler, now)
        self.jobs[job.id] = job
        if batch.role is Role.SCHEDULER:
            self._ports += 1
            self._later(START, lambda: self._start_scheduler(job, batch.address or f"tls://127.0.0.1:{self._ports}"))
        else:
            wait = float(self.queue[driver])
            if wait:
                job.state = State.QUEUED
            self._later(wait + START, lambda: self._join(job))

    def end(self, key: str, *, force: bool = False) -> bool:
        """Ask for an end; False: there is nothing to end."""
        job = self.jobs.get(key)
        if job is None or not job.alive:
            return False
        if job.driver not in self.stubborn:
            self._later(0.0 if force else DYING, lambda: self.stop(job, End(Cause.SIGNAL, signal=9 if force else 15)))
        return True

    def stop(self, job: Job, end: End) -> None:
        """It ends so, now."""
        if not job.alive:
            return
        job.end, job.state = end, State.ENDED
        if job.hub is not None:
            job.hub.die()
        elif (hub := self._hub_of(job)) is not None:
            hub.leave(job.id)

    def kill(self, job: Job) -> None:
        """kill -9 by somebody."""
        self.stop(job, End(Cause.SIGNAL, signal=9))

    def kill_worker(self, job: Job) -> None:
        """The workers of a node die, and the node starts them again."""
        if (hub := self._hub_of(job)) is not None and job.state is State.RUNNING and not job.left:
            hub.leave(job.id)
            if job.is_restarting:
                return
            job.is_restarting = True
            self._later(1.0, lambda: self._back(job, hub))

    def set_load(self, cluster: str, tasks: int) -> None:
        """So many tasks wait from now on."""
        self.loads[cluster] = tasks
        if (hub := self.scheduler(cluster)) is not None:
            hub.load = tasks

    def close(self) -> None:
        """End all."""
        for job in self.jobs.values():
            self.kill(job)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._loop.call_later(seconds, what)

    def _start_scheduler(self, job: Job, address: str) -> None:
        task = self._loop.create_task(self._serve(job, address))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, job: Job, address: str) -> None:
        if not job.alive:
            return
        hub = SimulatedScheduler(job.cluster, job.id, address, self.clock.time, lambda name: self._retired(name))
        await hub.listen(self.links / job.id)
        hub.load = self.loads[job.cluster]
        job.hub, job.state = hub, State.RUNNING
        if not job.alive:
            hub.die()

    def _hub_of(self, node: Job) -> SimulatedScheduler | None:
        scheduler = self.jobs.get(node.scheduler)
        return scheduler.hub if scheduler is not None and scheduler.alive else None

    def _join(self, job: Job) -> None:
        """A node comes up, and tries until it is at its scheduler."""
        if not job.alive:
            return
        job.state = State.RUNNING
        scheduler = self.jobs.get(job.scheduler)
        if scheduler is None or not scheduler.alive:
            self.stop(job, End(Cause.EXITED, code=SCHEDULER_GONE))
        elif scheduler.hub is None:
            self._later(START, lambda: self._join(job))
        elif scheduler.hub.join(job.id, job.workers):
            self._later(DEATH_TIMEOUT, lambda: self._miss(job))
        else:
            self.stop(job, End(Cause.EXITED, code=FENCED))

    def _miss(self, job: Job) -> None:
        """A node looks for its scheduler, as long as both live."""
        if job.alive and self._hub_of(job) is None:
            self.stop(job, End(Cause.EXITED, code=SCHEDULER_GONE))
        elif job.alive:
            self._later(DEATH_TIMEOUT, lambda: self._miss(job))

    def _back(self, job: Job, hub: SimulatedScheduler) -> None:
        job.is_restarting = False
        if job.alive and self._hub_of(job) is hub:
            hub.join(job.id, job.workers)

    def _retired(self, name: str) -> None:
        """A worker has retired: a node without one ends."""
        for job in self.jobs.values():
            if job.alive and name in job.workers:
                job.left.add(name)
                if job.left == set(job.workers):
                    self._later(DYING, lambda ended=job: self.stop(ended, End(Cause.EXITED, code=0)))
