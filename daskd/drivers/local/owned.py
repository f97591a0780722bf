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
from pathlib import Path

from daskd.drivers.protocol import Batch, Health, LogChunk, Outcome, Payload, Snapshot, Surroundings
from daskd.drivers.streams import Stream
from daskd.model.cluster import Handle, Role
from daskd.model.identity import Identity

from . import launch, wire
from .helper_process import HelperProcess
from .site import LocalSite, handles_of


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
    """A `Site` whose work is done by a process that runs as the owner.

    The daemon, which is root, only makes the owner's folder and binds links' sockets in its own.
    """

    capabilities = LocalSite.capabilities

    def __init__(self, who: Identity, where: Surroundings) -> None:
        self._who = who
        self._where = where
        self._helper = HelperProcess(who, wire.Opening.of(who, surroundings_of(who, where)))
        self._folder_made = False

    async def check(self) -> Health:
        """Whether the owner can reach folder and programs; the words name the mend."""
        try:
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

    async def prepare(self, batch: Batch) -> list[Handle]:
        """As `LocalSite.prepare`."""
        return handles_of(batch)

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """As `LocalSite.launch`; schedulers' sockets are bound here, and handed over."""
        with_dashboard = bool(batch.dashboard_prefix)
        with ExitStack() as links:
            bound: dict[str, socket.socket] = {}
            if batch.role is Role.SCHEDULER:
                for member in batch.members:
                    if not launch.link_path(self._where, member.id).exists():
                        sockets = launch.bind_sockets(self._where, member.id, with_dashboard)
                        bound[member.id] = links.enter_context(sockets)
            launching = wire.Launching(batch, tuple(handles))
            outcomes: list[Outcome] = await self._helper.ask(wire.LAUNCH, launching, bound)
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

    async def dial(self, handle: Handle, host: str, port: int) -> Stream:
        """There is no need to: what runs here has sockets of the daemon's own."""
        raise OSError(f"{handle.id} runs on this machine: there is nothing to dial")

    async def unstage(self, cluster: str) -> None:
        """As `LocalSite.unstage`."""
        await self._helper.ask(wire.UNSTAGE, cluster)

    async def forget(self, cluster: str) -> None:
        """As `LocalSite.forget`."""
        await self._helper.ask(wire.FORGET, cluster)

    async def close(self) -> None:
        """End the helper; what it started runs on."""
        await self._helper.close()


def _ours(outcomes: Sequence[Outcome], handles: Sequence[Handle]) -> list[Outcome]:
    """The outcomes of what was asked for, with our own handles: the answer is the owner's word."""
    asked = {handle.id: handle for handle in handles}
    return [
        dataclasses.replace(outcome, handle=asked[outcome.handle.id])
        for outcome in outcomes
        if outcome.handle.id in asked
    ]
