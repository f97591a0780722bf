"""What a cluster object knows of its cluster, kept live in the background.

Two things are followed: the daemon's record, by a watch, and the scheduler's own account of its workers. The latter is
asked for each second or so instead of subscribed to: a scheduler has one subscriber of worker status, and a second
object attached to the same cluster would freeze the first. Nothing is written to the scheduler's
``cluster-manager-info`` either, where several objects would overwrite each other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import warnings
from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import distributed
from distributed.objects import SchedulerInfo

from .api import AsyncDaskd
from .errors import ClusterExpiring, ClusterNotFound, DaskdError, IncompatibleVersions
from .security import LateSecurity
from .types import Cluster, Connection
from .unplaceable import UnplaceableNotice
from .versions import can_speak, differences, mismatch, own_versions

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0  # seconds between tries while the daemon, or the scheduler, does not answer
_VERSIONS_DIFFER = "VERSIONS_DIFFER"  # a cluster's reason: workers do not have the scheduler's versions
_ASK_EVERY = 1.0  # seconds
_ASK_SHARE = 0.01  # seconds more for each worker: the account of 1,000 workers is a megabyte


class ClusterView:
    """A cluster's record, its scheduler's account of itself, and a connection to that scheduler.

    Parameters
    ----------
    daskd
        The daemon's API.
    on_end
        Called once, in the event loop, when the cluster is being ended or has ended, whoever asked for it.

    Attributes
    ----------
    record : Cluster
        What the daemon last said of the cluster.
    scheduler_info : dict
        What the scheduler last said of itself.
    security : LateSecurity
        The keys to the cluster's own authority.
    comm : distributed.core.rpc or None
        A connection to the scheduler; None before `open`.
    """

    def __init__(self, daskd: AsyncDaskd, on_end: Callable[[], None]) -> None:
        self.daskd = daskd
        self.record = Cluster()
        self.connection = Connection()
        self.security = LateSecurity()
        self.scheduler_info: Any = {"workers": {}}
        self.comm: Any = None
        self._on_end = on_end
        self._notice = UnplaceableNotice()
        self._warned_of: datetime | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, record: Cluster) -> None:
        """Connect to the scheduler of a running cluster and begin to follow both.

        Raises
        ------
        ClusterNotRunning
            It has no scheduler any more.
        OSError
            The scheduler can't be reached.
        """
        self.take(record)
        await self._connect()
        await self.refresh()
        self._tasks = [
            asyncio.create_task(self._follow_record(), name=f"daskd-record-{record.name}"),
            asyncio.create_task(self._follow_scheduler(), name=f"daskd-scheduler-{record.name}"),
        ]

    async def refresh(self) -> None:
        """Ask the scheduler for its account."""
        self.scheduler_info = SchedulerInfo(await self.comm.identity())

    def mismatch(self) -> str:
        """What this process, the scheduler and its workers have in versions that do not go together, in words."""
        found = differences(own_versions(), self.connection.versions)
        words = [mismatch(self.record.name, self._python(), found)] if found else []
        if self.record.reason == _VERSIONS_DIFFER:
            words.append(f"Of cluster {self.record.name!r} itself: {self.record.message}")
        return " ".join(words)

    def check_versions(self) -> None:
        """See that the scheduler understands what a client in this process says.

        Raises
        ------
        IncompatibleVersions
            It does not.
        """
        here, there = own_versions(), self.connection.versions
        if not can_speak(here, there):
            raise IncompatibleVersions(
                f"Nothing can be computed on cluster {self.record.name!r} from here: distributed {here['distributed']} "
                f"and {there['distributed']} do not understand each other. "
                + mismatch(self.record.name, self._python(), differences(here, there)),
                facts={"name": self.record.name, "here": here["distributed"], "there": there["distributed"]},
            )

    def _python(self) -> str:
        """The cluster's interpreter, if it is on this machine and known."""
        spec = self.record.spec
        return spec.python if spec is not None and self.daskd.is_local else ""

    async def close(self) -> None:
        """Stop following; the cluster itself is left alone.

        The API stays open: a cluster's logs and record can be read after its end too.
        """
        tasks, self._tasks = self._tasks, []
        current = asyncio.current_task()
        for task in tasks:
            if task is not current:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not current), return_exceptions=True)
        if self.comm is not None:
            await self.comm.close_rpc()

    def take(self, record: Cluster) -> None:
        """Know the daemon's newest word, and warn once if it is that the cluster's lifetime is nearly over."""
        self.record = record
        self._notice.see(record)
        if not record.expiring or record.ended or record.delete_requested or self._warned_of == record.expire_time:
            return
        self._warned_of = when = record.expire_time
        assert when is not None
        words = f"Cluster {record.name!r} ends at {when.astimezone():%Y-%m-%d %H:%M:%S %Z}: its lifetime is over then."
        try:
            warnings.warn(f"{words} Save what you need.", ClusterExpiring, stacklevel=2)
        except ClusterExpiring:
            # who has warnings raised shall not lose what follows the cluster to it
            logger.warning("%s", words)

    async def _connect(self) -> None:
        connection = await self.daskd.connection(self.record.uid)
        if connection == self.connection and self.comm is not None:
            return
        old, self.connection = self.comm, connection
        self.security.arrive(connection)
        # The address is the comm layer's: a scheduler started again at the same one is reached by the same object.
        self.comm = distributed.rpc(
            connection.scheduler_address, connection_args=self.security.get_connection_args("client")
        )
        if old is not None:
            await old.close_rpc()

    async def _follow_record(self) -> None:
        """Keep `record` as the daemon has it; a daemon that is away for long is asked again now and then."""
        token, pause = "", _ASK_EVERY
        while True:
            try:
                async with aclosing(self.daskd.watch(self.record.uid, resume_token=token)) as changes:
                    async for change in changes:
                        token, pause = change.resume_token or token, _ASK_EVERY
                        if change.cluster is not None:
                            self.take(change.cluster)
                        if self.record.ended or self.record.delete_requested:
                            self._on_end()
                            return
            except ClusterNotFound:
                self._on_end()
                return
            except DaskdError as error:
                logger.info("Can't follow cluster %s: %s", self.record.name, error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the clients of one daemon
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _follow_scheduler(self) -> None:
        """Keep `scheduler_info` fresh; a scheduler that does not answer may have been started again elsewhere."""
        failures = 0
        while True:
            workers = len(self.scheduler_info["workers"])
            await asyncio.sleep(min(_LONGEST_PAUSE, (_ASK_EVERY + _ASK_SHARE * workers) * 2**failures))
            try:
                await self.refresh()
                failures = 0
            except Exception as error:
                # The edge of a loop that must not end: a scheduler runs users' code, and may answer anything.
                failures = min(failures + 1, 5)
                logger.debug("The scheduler of cluster %s does not answer: %s", self.record.name, error)
                with suppress(DaskdError):
                    await self._connect()
