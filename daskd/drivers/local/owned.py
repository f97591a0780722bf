"""This machine as another user than the daemon's uses it: every file, every process is that user's helper's doing."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from daskd.drivers.protocol import Batch, Health, LogChunk, Outcome, Payload, Result, Snapshot, Surroundings
from daskd.model.cluster import Handle, Role
from daskd.model.identity import Identity
from daskd.model.spec import WorkerGroupSpec

from . import launch, owner, wire
from .helper_process import HelperProcess, start_in_session
from .site import LocalSite, bounds_with, handles_of
from .units import Units


def surroundings_of(who: Identity, where: Surroundings) -> Surroundings:
    """Where that user's clusters lie: in a folder of the user's own below the daemon's."""
    return dataclasses.replace(where, state_dir=where.state_dir / "users" / str(who.uid))


def make_folder(who: Identity, where: Surroundings) -> None:
    """Make the user's folder. Only root can put anything beside it, so no link can be in its place.

    The folders above it can be passed through, and not listed. Blocks.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    own = surroundings_of(who, where).state_dir
    where.state_dir.chmod(stat.S_IMODE(where.state_dir.stat().st_mode) | 0o011)
    own.parent.mkdir(mode=0o711, exist_ok=True)
    own.parent.chmod(0o711)  # whatever the umask
    own.mkdir(mode=0o700, exist_ok=True)
    os.chown(own, who.uid, who.gid, follow_symlinks=False)


class OwnedSite:
    """A `Site` whose work is done by processes that run as the owner: one that looks, reads and ends, for all clusters,
    and one a cluster that launches, in a session of the owner's and in the cluster's units.

    The daemon, which is root, only makes the owner's folder, binds links' sockets in its own, and has those processes
    started where they are to be: what they start is there from the first instant, whatever they say or do.

    Parameters
    ----------
    session
        How the owner's sessions are opened.
    units
        Makes systemd units for clusters; None: they are in the daemon's own.
    """

    capabilities = LocalSite.capabilities

    def __init__(self, who: Identity, where: Surroundings, session: owner.Service, units: Units | None) -> None:
        self._who = who
        self._where = where
        self._session = session
        self._units = units
        self._opening = wire.Opening.of(who, surroundings_of(who, where))
        self._helper = HelperProcess(who, self._opening)
        self._launchers: dict[str, HelperProcess] = {}
        self._folder_made = False

    def _launcher(self, cluster: str) -> HelperProcess:
        launcher = self._launchers.get(cluster)
        if launcher is None:
            start = partial(start_in_session, session=self._session, placed=partial(self._placed, cluster))
            launcher = self._launchers[cluster] = HelperProcess(self._who, self._opening, start)
        return launcher

    def _placed(self, cluster: str, argv: list[str]) -> list[str]:
        return argv if self._units is None else self._units.placed(argv, cluster, "launches", {})

    async def check(self) -> Health:
        """Whether the owner may start anything here, and can reach folder and programs; the words name the mend."""
        try:
            await asyncio.to_thread(owner.check, self._who, self._session)
            await self._make_folder()
            health: Health = await self._helper.ask(wire.CHECK, None)
        except OSError as error:
            return Health(False, f"nothing can be run here as {self._who.name}: {error}")
        return health

    async def stage(self, payload: Payload) -> None:
        """As `LocalSite.stage`."""
        await self._make_folder()
        await self._helper.ask(wire.STAGE, wire.Staging.of(payload))

    async def _make_folder(self) -> None:
        if not self._folder_made:
            await asyncio.to_thread(make_folder, self._who, self._where)
            self._folder_made = True

    def room(self, group: WorkerGroupSpec, waiting: int) -> None:
        """No bound: nothing waits here."""

    async def prepare(self, batch: Batch) -> list[Handle]:
        """As `LocalSite.prepare`."""
        return handles_of(batch)

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """As `LocalSite.launch`; schedulers' sockets are bound here, and handed over."""
        if self._units is not None:
            await asyncio.to_thread(self._units.bound, batch.cluster, bounds_with(batch))
        launcher = self._launcher(batch.cluster)
        try:
            if launcher.is_running:
                # its session was opened a while ago, and the owner's account may have ended since
                await asyncio.to_thread(owner.check, self._who, self._session)
            await launcher.ready()
        except OSError as error:
            words = f"nothing can be started here as {self._who.name}: {error}"
            return [Outcome(handle, Result.REFUSED, words) for handle in handles]
        with_dashboard = bool(batch.dashboard_prefix)
        with ExitStack() as links:
            bound: dict[str, socket.socket] = {}
            if batch.role is Role.SCHEDULER:
                for member in batch.members:
                    if not launch.link_path(self._where, member.id).exists():
                        sockets = launch.bind_sockets(self._where, member.id, with_dashboard)
                        bound[member.id] = links.enter_context(sockets)
            launching = wire.Launching(batch, tuple(handles))
            outcomes: list[Outcome] = await launcher.ask(wire.LAUNCH, launching, bound)
        return _ours(outcomes, handles)

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """As `LocalSite.observe`; when it was begun is our own word."""
        begun = time.time()
        asked = {handle.id: handle for handle in known}
        snapshot: Snapshot = await self._helper.ask(wire.OBSERVE, wire.Observing(tuple(known), deep))
        seen = tuple(
            dataclasses.replace(observation, handle=asked[observation.handle.id])
            for observation in snapshot.seen
            if observation.handle.id in asked
        )
        complete = snapshot.complete and {observation.handle.id for observation in seen} == set(asked)
        return dataclasses.replace(snapshot, begun=begun, seen=seen, complete=complete)

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """As `LocalSite.terminate`."""
        outcomes: list[Outcome] = await self._helper.ask(wire.TERMINATE, wire.Terminating(tuple(handles), force))
        return _ours(outcomes, handles)

    async def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """As `LocalSite.logs`."""
        while True:
            chunk: LogChunk | None = await self._helper.ask(wire.LOGS, wire.Reading(handle, cursor, since))
            # a cursor that stands still would be asked for ever
            if chunk is None or chunk.cursor == cursor:
                return
            cursor = chunk.cursor
            yield chunk

    def link_path(self, handle: Handle) -> Path:
        """As `LocalSite.link_path`."""
        return launch.link_path(self._where, handle.id)

    def dashboard_path(self, handle: Handle) -> Path:
        """As `LocalSite.dashboard_path`."""
        return launch.dashboard_path(self._where, handle.id)

    async def unstage(self, cluster: str) -> None:
        """As `LocalSite.unstage`; units are root's to stop."""
        if launcher := self._launchers.pop(cluster, None):
            await launcher.close()
        await self._helper.ask(wire.UNSTAGE, cluster)
        if self._units is not None:
            await asyncio.to_thread(self._units.dissolve, cluster)

    async def forget(self, cluster: str) -> None:
        """As `LocalSite.forget`."""
        await self._helper.ask(wire.FORGET, cluster)

    async def close(self) -> None:
        """End the helpers; what they started runs on."""
        await asyncio.gather(self._helper.close(), *(launcher.close() for launcher in self._launchers.values()))


def _ours(outcomes: Sequence[Outcome], handles: Sequence[Handle]) -> list[Outcome]:
    """The outcomes of what was asked for, with our own handles: the answer is the owner's word."""
    asked = {handle.id: handle for handle in handles}
    return [
        dataclasses.replace(outcome, handle=asked[outcome.handle.id])
        for outcome in outcomes
        if outcome.handle.id in asked
    ]
