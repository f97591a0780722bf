"""The store on SQLite: one connection in one thread, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import builtins
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from daskd.model.cluster import Cluster, Instance
from daskd.model.errors import StateUnusable
from daskd.model.event import Change, Event, NewEvent
from daskd.model.token import Token

from . import reads, tokens, writes
from .database import Meta, copy_database, open_database
from .directory import StateDirectory
from .failures import explained
from .interface import ClusterQuery, Events, Page, PruneResult, Store
from .transaction import transaction
from .wakeups import Listener, Wakeups

T = TypeVar("T")


class SqliteStore(Store):
    """A `Store` in a state directory; made by `open`, and used in the event loop that it was opened in."""

    def __init__(
        self,
        directory: StateDirectory,
        db: sqlite3.Connection,
        meta: Meta,
        revision: int,
        executor: ThreadPoolExecutor,
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._db = db
        self._meta = meta
        self._revision = revision
        self._executor = executor
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._wakeups = Wakeups(lambda: self._revision)
        self._closed = False

    @classmethod
    async def open(cls, state_dir: Path, *, machine_id: str, clock: Callable[[], float]) -> SqliteStore:
        """Claim a state directory, made if missing, and open its database, made or upgraded as needed.

        Parameters
        ----------
        machine_id
            This machine's, e.g. of /etc/machine-id; the state of another one is refused.
        clock
            Tells the time, unix seconds; called in the store's thread.

        Raises
        ------
        StateUnusable
            With the mend: see `StateDirectory.claim` and `open_database`.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="store")

        def claim() -> tuple[StateDirectory, sqlite3.Connection, Meta, int]:
            directory = StateDirectory.claim(state_dir)
            try:
                db, meta = open_database(directory.database, machine_id)
                return directory, db, meta, reads.newest_revision(db)
            except BaseException:
                directory.release()
                raise

        try:
            directory, db, meta, revision = await asyncio.get_running_loop().run_in_executor(executor, claim)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(directory, db, meta, revision, executor, clock)

    @property
    def state_id(self) -> str:
        """See `Store.state_id`."""
        return self._meta.state_id

    @property
    def revision(self) -> int:
        """See `Store.revision`."""
        return self._revision

    async def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        def ask() -> T:
            with explained(self._directory.database):
                return question(self._db)

        return await self._in_thread(ask)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def commit() -> T:
            with explained(self._directory.database), transaction(self._db):
                result = work(self._db)
                newest = reads.newest_revision(self._db)
            # Here and not in the coroutine: that may have been cancelled, and watchers must hear of it all the same.
            if newest > self._revision:
                self._revision = newest
                self._loop.call_soon_threadsafe(self._wakeups.wake)
            return result

        return await self._in_thread(commit)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._check_open()
        return await self._loop.run_in_executor(self._executor, work)

    def _check_open(self) -> None:
        if self._closed:
            raise StateUnusable("the state was closed: daskd is stopping. Try again when it is back")

    async def create(
        self, cluster: Cluster, *, request_id: str, event: NewEvent, named: bool = True
    ) -> tuple[Cluster, bool]:
        """See `Store.create`."""
        return await self._write(lambda db: writes.create(db, cluster, request_id, named, event, self._clock()))

    async def get(self, uid: str) -> Cluster | None:
        """See `Store.get`."""
        return await self._read(lambda db: reads.get(db, uid))

    async def find(self, owner: str, name: str) -> Cluster | None:
        """See `Store.find`."""
        return await self._read(lambda db: reads.find(db, owner, name))

    async def find_all(self, name: str) -> builtins.list[Cluster]:
        """See `Store.find_all`."""
        return await self._read(lambda db: reads.find_all(db, name))

    async def list(self, query: ClusterQuery) -> Page[Cluster]:
        """See `Store.list`."""
        return await self._read(lambda db: reads.list_page(db, query, self._meta.page_key))

    async def live(self) -> builtins.list[Cluster]:
        """See `Store.live`."""
        return await self._read(reads.live)

    async def count_live(self, owner: str | None) -> int:
        """See `Store.count_live`."""
        return await self._read(lambda db: reads.count_live(db, owner))

    async def update(
        self,
        uid: str,
        change: Callable[[Cluster], Cluster],
        *,
        instances: Sequence[Instance] = (),
        forget: Sequence[str] = (),
        events: Events = (),
    ) -> Cluster:
        """See `Store.update`."""
        return await self._write(lambda db: writes.update(db, uid, change, instances, forget, events, self._clock()))

    async def note(self, event: NewEvent) -> None:
        """See `Store.note`."""
        await self._write(lambda db: writes.note(db, event, self._clock()))

    async def put_token(self, token: Token, secret_hash: str) -> None:
        """See `Store.put_token`."""
        await self._write(lambda db: tokens.put(db, token, secret_hash))

    async def token(self, secret_hash: str) -> Token | None:
        """See `Store.token`."""
        return await self._read(lambda db: tokens.find(db, secret_hash))

    async def tokens(self, uid: int | None) -> builtins.list[Token]:
        """See `Store.tokens`."""
        return await self._read(lambda db: tokens.listed(db, uid))

    async def forget_token(self, token_id: str) -> bool:
        """See `Store.forget_token`."""
        return await self._write(lambda db: tokens.forget(db, token_id))

    async def instances(self, uid: str, *, include_ended: bool = False) -> builtins.list[Instance]:
        """See `Store.instances`."""
        return await self._read(lambda db: reads.instances(db, uid, include_ended))

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> builtins.list[Event]:
        """See `Store.events`."""
        return await self._read(lambda db: reads.events(db, uid, after, limit))

    async def changes(self, after: int, limit: int = 1000) -> builtins.list[Change]:
        """See `Store.changes`."""
        return await self._read(lambda db: reads.changes(db, after, limit))

    def subscribe(self) -> Listener:
        """See `Store.subscribe`."""
        return Listener(self._wakeups)

    async def prune(self, *, ended_before: float, events_before: float, keep_events: int) -> PruneResult:
        """See `Store.prune`."""
        return await self._write(lambda db: writes.prune(db, ended_before, events_before, keep_events))

    async def backup(self, target: Path) -> None:
        """See `Store.backup`."""
        self._check_open()
        await asyncio.to_thread(copy_database, self._directory.database, target)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        self._wakeups.close()

        def let_go() -> None:
            try:
                with explained(self._directory.database):
                    self._db.close()
            finally:
                self._directory.release()

        closing = self._loop.run_in_executor(self._executor, let_go)  # after all that was asked before
        self._executor.shutdown(wait=False)
        await asyncio.shield(closing)
