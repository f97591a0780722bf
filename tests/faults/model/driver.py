"""Drivers of the simulated systems, with faults to be switched on: what they do to the core is what real ones do."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from daskd.drivers.protocol import (
    Batch,
    Capabilities,
    Health,
    LogChunk,
    Observation,
    Outcome,
    Payload,
    Result,
    Site,
    Snapshot,
    Surroundings,
)
from daskd.drivers.streams import Stream
from daskd.model.cluster import Cause, End, Handle, State
from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec

from .system import Systems

LOCAL, AWAY = "local", "away"
"""The driver that launches schedulers too, which sees all there is at once; and one with a queue, which sees less."""

SETTLE = 5.0


class TroubleError(Exception):
    """What a driver raises because a test has it do so."""


@dataclasses.dataclass
class Faults:
    """What is wrong with a driver.

    Attributes
    ----------
    delay
        Seconds that each call takes.
    hangs
        The name of a call that never answers.
    fails_before, fails_after
        Launches raise before, or after, they took place.
    refuses
        Launches are refused.
    lists
        "all", "nothing" (an empty listing that claims to be complete), "part" (one that says it is not), "error".
    ends
        "yes", "no" (refused), "error".
    """

    delay: float = 0.0
    hangs: str = ""
    fails_before: bool = False
    fails_after: bool = False
    refuses: bool = False
    lists: str = "all"
    ends: str = "yes"


class NoOptions(BaseModel):
    """There are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedDriver:
    """One simulated system.

    Parameters
    ----------
    is_dead
        Whether the daemon that asks was killed: then nothing is done any more.
    """

    description = "simulated"
    options = NoOptions
    settings = NoOptions
    elsewhere = False
    places_schedulers = False

    def __init__(self, name: str, systems: Systems, faults: Faults, is_dead: Callable[[], bool]) -> None:
        self.name = name
        self._systems = systems
        self._faults = faults
        self._is_dead = is_dead

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """Anything goes."""
        return []

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """Workers have the memory that they ask for."""
        return group.model_copy(update={"memory_limit": 1 << 30}) if group.memory_limit == "auto" else group

    def preview(self, spec: ClusterSpec, group: WorkerGroupSpec, who: Identity, surroundings: Surroundings) -> None:
        """There is nothing to show."""

    def upgrade(self, handle: Handle) -> Handle:
        """There is one version."""
        return handle

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """The same for everybody."""
        return SimulatedSite(self.name, self._systems, self._faults, self._is_dead)


class SimulatedSite:
    """A simulated system as one daemon sees it."""

    def __init__(self, name: str, systems: Systems, faults: Faults, is_dead: Callable[[], bool]) -> None:
        self._name = name
        self._systems = systems
        self._faults = faults
        self._is_dead = is_dead
        is_local = name == LOCAL
        self.capabilities = Capabilities(
            repeat_safe=is_local,
            settle_s=0.0 if is_local else SETTLE,
            absence_is_end=is_local,
            poll_min_s=0.2 if is_local else 1.0,
            poll_quiet_s=2.0 if is_local else 5.0,
            start_s=0.5,
        )

    async def _begin(self, call: str) -> None:
        if self._is_dead():
            raise asyncio.CancelledError
        if self._faults.hangs == call:
            await asyncio.Event().wait()
        if self._faults.delay:
            await asyncio.sleep(self._faults.delay)

    async def check(self) -> Health:
        """It can be used."""
        return Health(True)

    async def stage(self, payload: Payload) -> None:
        """Remember that there are keys."""
        await self._begin("stage")
        self._systems.staged.add((self._name, payload.cluster))

    async def prepare(self, batch: Batch) -> list[Handle]:
        """The id is all that finding an instance takes."""
        await self._begin("prepare")
        return [Handle(self._name, 1, member.id, member.id, {"cluster": batch.cluster}) for member in batch.members]

    def room(self, group: WorkerGroupSpec, waiting: int) -> None:
        """As much as anybody wants."""

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """Launch, unless a fault is in the way."""
        await self._begin("launch")
        if self._faults.refuses:
            return [Outcome(handle, Result.REFUSED, "there is no room", full=True) for handle in handles]
        if self._faults.fails_before:
            raise TroubleError("it broke before it did anything")
        for member in batch.members:
            self._systems.launch(self._name, batch, member)
        if self._faults.fails_after:
            raise TroubleError("it broke when it was done")
        return [Outcome(handle, Result.ACCEPTED) for handle in handles]

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """List, as far as faults let it."""
        begun = self._systems.clock.time()
        await self._begin("observe")
        if self._faults.lists == "error":
            raise TroubleError("it can't be listed")
        if self._faults.lists == "part":
            return Snapshot(begun, False, (), words="only a part could be listed")
        if self._faults.lists == "nothing":
            # a system whose absence says nothing shows what it lacks as unknown
            lost = () if self._name == LOCAL else tuple(Observation(one, State.UNKNOWN, "not listed") for one in known)
            return Snapshot(begun, True, lost)
        strays: tuple[Handle, ...] = ()
        if deep:
            asked = {handle.id for handle in known}
            jobs = [job for job in self._systems.jobs.values() if job.alive and job.driver == self._name]
            here = [job for job in jobs if job.id not in asked]
            strays = tuple(Handle(self._name, 1, job.id, job.id, {"cluster": job.cluster}) for job in here)
        return Snapshot(begun, True, tuple(self._seen(handle) for handle in known), strays)

    def _seen(self, handle: Handle) -> Observation:
        job = self._systems.jobs.get(handle.id)
        if job is None:
            words = "it was never launched here"
            return Observation(handle, State.ENDED, words, End(Cause.VANISHED, words=words))
        return Observation(handle, job.state, end=job.end, host="here", pid=1 if job.alive else None)

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """Ask for the end, unless a fault is in the way."""
        await self._begin("terminate")
        if self._faults.ends == "error":
            raise TroubleError("it can't be asked to end anything")
        if self._faults.ends == "no":
            return [Outcome(handle, Result.REFUSED, "it refuses to end anything") for handle in handles]
        asked = [(handle, self._systems.end(handle.id, force=force)) for handle in handles]
        return [Outcome(handle, Result.ACCEPTED if was_there else Result.GONE) for handle, was_there in asked]

    async def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """Nothing is ever logged."""
        for chunk in ():
            yield chunk

    def link_path(self, handle: Handle) -> Path:
        """Where a scheduler listens."""
        return self._systems.links / handle.id

    async def dial(self, handle: Handle, host: str, port: int) -> Stream:
        """Nobody asks: it places no schedulers."""
        raise OSError("there is no other machine")

    def dashboard_path(self, handle: Handle) -> Path | None:
        """There is no dashboard."""
        return None

    async def unstage(self, cluster: str) -> None:
        """Its keys are gone."""
        await self._begin("unstage")
        self._systems.staged.discard((self._name, cluster))

    async def forget(self, cluster: str) -> None:
        """Nothing is left."""

    async def close(self) -> None:
        """Nothing is held."""
