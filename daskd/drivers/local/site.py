"""This machine as one user uses it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from daskd.drivers.protocol import (
    Batch,
    Capabilities,
    Health,
    LogChunk,
    Outcome,
    Payload,
    Result,
    Snapshot,
    Surroundings,
)
from daskd.model.cluster import Handle, Role
from daskd.model.identity import Identity
from daskd.model.spec import Placement, WorkerGroupSpec

from . import launch, logs, observe, records
from .embedded import EmbeddedLauncher, EmbeddedSchedulers
from .files import ClusterFiles
from .launch import Launcher
from .units import Bounds, Units, bounds_of
from .zygote import Zygotes


def handles_of(batch: Batch) -> list[Handle]:
    """The id and the cluster are all that finding an instance takes."""
    return [
        Handle(driver="local", version=1, id=member.id, announce=member.id, data={"cluster": batch.cluster})
        for member in batch.members
    ]


def bounds_with(batch: Batch) -> Bounds:
    """What the batch's cluster may use on this machine, the batch included."""
    group = batch.group
    limit = 0 if group is None or group.memory_limit == "auto" else group.memory_limit
    return bounds_of([*batch.beside, *((len(member.workers), limit) for member in batch.members)])


class LocalSite:
    """Processes of this machine, of the user as whom this process runs. File and process work runs in threads.

    Parameters
    ----------
    bind_sockets
        A scheduler's bound sockets, as `launch.Launcher` takes them; by default they are bound here.
    units
        Makes systemd units for them; None: they are in the daemon's own.
    """

    capabilities = Capabilities(
        repeat_safe=True,
        settle_s=0.0,
        absence_is_end=True,
        poll_min_s=0.1,
        poll_quiet_s=2.0,
        start_s=0.5,
    )

    def __init__(
        self,
        who: Identity,
        surroundings: Surroundings,
        *,
        bind_sockets: Callable[[str, bool], socket.socket] | None = None,
        units: Units | None = None,
    ) -> None:
        self._who = who
        self._where = surroundings
        self._bind = bind_sockets or (
            lambda instance, dashboard: launch.bind_sockets(surroundings, instance, dashboard)
        )
        self._units = units
        self._children = launch.Children()
        self._embedded = EmbeddedSchedulers()
        self._zygotes = Zygotes(surroundings.state_id, self._children.add)
        # threads of its own: one whose imports hang must not keep others' observation waiting
        self._launching = ThreadPoolExecutor(max_workers=32, thread_name_prefix="local-launch")

    def _files(self, cluster: str) -> ClusterFiles:
        return ClusterFiles(self._where.state_dir / "clusters" / cluster)

    def _folder(self, handle: Handle) -> Path:
        return self._files(str(handle.data["cluster"])).instance(handle.id)

    async def check(self) -> Health:
        """Whether the user can reach the clusters' folder and the daemon's Python."""
        return await asyncio.to_thread(self._check)

    def _check(self) -> Health:
        root = self._where.state_dir / "clusters"
        try:
            root.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            return Health(
                False,
                f"{self._who.name} can't reach {root}: {error.strerror}. Every folder above it must let others pass "
                "(chmod a+x): keep the state in one such as /var/lib/daskd (`daemon.state_dir`)",
            )
        if not os.access(sys.executable, os.X_OK):
            return Health(
                False,
                f"{self._who.name} can't run {sys.executable}: install daskd where every user may read it, such as "
                "/opt/daskd",
            )
        return Health(True)

    async def stage(self, payload: Payload) -> None:
        """The runtime's code, keys and certificates into the cluster's folder."""
        await asyncio.to_thread(self._files(payload.cluster).stage, payload.secret)

    def room(self, group: WorkerGroupSpec, waiting: int) -> None:
        """No bound: nothing waits here."""

    async def prepare(self, batch: Batch) -> list[Handle]:
        """The id and the cluster are all that finding one takes."""
        return handles_of(batch)

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """A supervisor each. A folder that is there already was launched before: nothing happens again."""
        files = self._files(batch.cluster)
        zygote = self._zygotes.of(files)
        is_embedded = batch.role is Role.SCHEDULER and batch.spec.scheduler.placement is Placement.EMBEDDED
        kind = partial(EmbeddedLauncher, self._embedded) if is_embedded else Launcher
        launcher = kind(self._who, self._where, files, batch, self._children, zygote, self._bind, self._units)
        return await asyncio.get_running_loop().run_in_executor(
            self._launching,
            lambda: self._launch(launcher, batch, handles),
        )

    def _launch(self, launcher: Launcher, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        # where only launches take place, nobody observes
        self._children.reap()
        if self._units is not None:
            self._units.bound(batch.cluster, bounds_with(batch))
        return [launcher.launch(member, handle) for member, handle in zip(batch.members, handles, strict=True)]

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """Folders' records and /proc."""
        return await asyncio.to_thread(self._observe, known, deep)

    def _observe(self, known: Sequence[Handle], deep: bool) -> Snapshot:
        begun = time.time()
        self._children.reap()
        seen = tuple(observe.observe(handle, self._folder(handle), self._where.state_id) for handle in known)
        strays: tuple[Handle, ...] = ()
        if deep:
            strays = observe.strays(self._where, {handle.id for handle in known})
        return Snapshot(begun=begun, complete=True, seen=seen, strays=strays)

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """TERM to the supervisor, which passes it on and kills after the grace; with `force`, KILL to all it holds."""
        return await asyncio.to_thread(lambda: [self._terminate(handle, force) for handle in handles])

    def _terminate(self, handle: Handle, force: bool) -> Outcome:
        if (outcome := self._embedded.terminate(handle, force)) is not None:
            return outcome
        asked = records.end(self._folder(handle), handle.id, self._where.state_id, force)
        return Outcome(handle, Result.ACCEPTED if asked else Result.GONE)

    async def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """The numbered files, as far as they are kept; `since` leaves out older lines."""
        chunks = logs.read(self._folder(handle), cursor)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            lines, after = chunk
            yield LogChunk(lines if since is None else tuple(line for line in lines if line[0] >= since), after)

    def link_path(self, handle: Handle) -> Path:
        """Where the daemon bound the link's socket."""
        return launch.link_path(self._where, handle.id)

    def dashboard_path(self, handle: Handle) -> Path:
        """Where the daemon bound the dashboard's socket, if it serves that."""
        return launch.dashboard_path(self._where, handle.id)

    async def unstage(self, cluster: str) -> None:
        """Keys, scratch files and code; logs stay."""
        await asyncio.to_thread(self._unstage, self._files(cluster))

    def _unstage(self, files: ClusterFiles) -> None:
        self._zygotes.end(files)
        if self._units is not None:
            self._units.dissolve(files.folder.name)
        files.unstage()

    async def forget(self, cluster: str) -> None:
        """All that is left of a cluster here, logs included."""
        await asyncio.to_thread(self._files(cluster).forget)

    async def close(self) -> None:
        """Nothing is held open, but threads; a scheduler that runs in one of this process ends with it."""
        await asyncio.to_thread(self._embedded.close)
        # the interpreter waits for threads when it ends
        self._zygotes.leave()
        self._launching.shutdown(wait=False)
