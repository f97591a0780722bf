"""What the rest of the daemon may ask of the durable state, whatever holds it."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, TypeAlias, TypeVar

from daskd.model.cluster import Cluster, Instance, Phase
from daskd.model.event import Change, Event, NewEvent
from daskd.model.token import Token

T = TypeVar("T")

Events: TypeAlias = Sequence[NewEvent] | Callable[[Cluster, Cluster], Sequence[NewEvent]]
"""Events to record with an update: as they are, or made from the record before and after it."""

MOST_ROWS = 10_000
"""No call answers with more rows than this, whatever limit it is given."""


@dataclass(frozen=True, slots=True)
class ClusterQuery:
    """Which clusters to list.

    Attributes
    ----------
    owner
        Only this user's; None: everybody's.
    phases
        Only those in one of these phases; empty: in any.
    shared_with
        With `owner`: those too that are shared with one of these (`Identity.subjects`), whoever owns them.
    name_prefix
        Only those whose name begins so.
    include_ended
        Also those that ended; without it, not even `phases` brings an ended one.
    limit
        How many at most, from 1 up.
    after
        The `next_token` of the page before; empty: the first page.
    """

    owner: str | None = None
    shared_with: frozenset[str] = frozenset()
    phases: frozenset[Phase] = frozenset()
    name_prefix: str = ""
    include_ended: bool = False
    limit: int = 100
    after: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing; `next_token` is empty at the end."""

    items: tuple[T, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was forgotten: the uids of clusters, and how many changes (with their events)."""

    clusters: tuple[str, ...]
    changes: int


class Subscription(Protocol):
    """Hears of new revisions, as long as its context lasts."""

    async def __aenter__(self) -> Subscription: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def wait(self, after_revision: int, timeout: float | None = None) -> bool:
        """Wait for a revision newer than `after_revision`.

        Parameters
        ----------
        timeout
            Seconds; None: as long as it takes.

        Returns
        -------
        bool
            Whether there is one; False when the time was over first.

        Raises
        ------
        StateUnusable
            When the store is closed.
        """
        ...


class Store(Protocol):
    """The daemon's durable state. What a method answered is on disk; what it raised for has changed nothing.

    Every method may raise `StateUnusable`, with the mend: the disk is full, read-only, broken, or the store closed.
    A caller that is cancelled while it waits does not learn whether its write took place; it is never done by half.
    """

    @property
    def state_id(self) -> str:
        """Five characters that tell this state from another daemon's; part of every instance id."""
        ...

    @property
    def revision(self) -> int:
        """The newest revision; 0 before the first."""
        ...

    async def create(
        self, cluster: Cluster, *, request_id: str, event: NewEvent, named: bool = True
    ) -> tuple[Cluster, bool]:
        """Record a cluster with its first event.

        Parameters
        ----------
        request_id
            The owner's own for this request; empty: it has none, and is never taken for a repeat.
        named
            False where the name was made up for a user who gave none: a repeat then comes under another name.

        Returns
        -------
        tuple of Cluster and bool
            The record, and True. When the owner used `request_id` before: the cluster made then, and False;
            nothing is written.

        Raises
        ------
        ClusterExists
            When the owner has a live cluster of that name.
        InvalidArgument
            When `request_id` was used for a cluster of another name.
        """
        ...

    async def get(self, uid: str) -> Cluster | None:
        """The cluster of that uid, live or ended."""
        ...

    async def find(self, owner: str, name: str) -> Cluster | None:
        """The owner's live cluster of that name."""
        ...

    async def find_all(self, name: str) -> builtins.list[Cluster]:
        """The live clusters of that name, of any owner, oldest first."""
        ...

    async def list(self, query: ClusterQuery) -> Page[Cluster]:
        """A page of clusters, newest first. One that is made while a listing goes on shifts nothing in it.

        Raises
        ------
        InvalidArgument
            When the limit is not positive, or the token is not one of this very query.
        """
        ...

    async def live(self) -> builtins.list[Cluster]:
        """All clusters that have not ended, oldest first."""
        ...

    async def count_live(self, owner: str | None) -> int:
        """How many clusters have not ended, of one owner or (None) of all."""
        ...

    async def update(
        self,
        uid: str,
        change: Callable[[Cluster], Cluster],
        *,
        instances: Sequence[Instance] = (),
        forget: Sequence[str] = (),
        events: Events = (),
    ) -> Cluster:
        """Change a cluster, its instances and its history in one transaction.

        Nothing is written, and no revision made, when record and instances are what they were and there is no
        event. Else the record's `revision` and `updated` are set, and watchers hear of it.

        Parameters
        ----------
        change
            Makes the new record from the present one. Pure and quick: it runs in the store's thread. What it raises
            aborts the update and reaches the caller.
        instances
            Recorded anew or in place of what is recorded under their ids.
        forget
            Ids of instances to delete; unknown ones are passed over.

        Raises
        ------
        ClusterNotFound
            When there is none of that uid.
        ValueError
            When what cannot be stored, or would change an identity, is given: a mistake of the caller's.
        """
        ...

    async def note(self, event: NewEvent) -> None:
        """Record an event that is no cluster's but the daemon's own; `events("")` has them."""
        ...

    async def put_token(self, token: Token, secret_hash: str) -> None:
        """Record a token under the hash of its secret; those that have expired by its creation are forgotten."""
        ...

    async def token(self, secret_hash: str) -> Token | None:
        """The token whose secret has that hash, expired or not."""
        ...

    async def tokens(self, uid: int | None) -> builtins.list[Token]:
        """The tokens of one user, or (None) of all, oldest first."""
        ...

    async def forget_token(self, token_id: str) -> bool:
        """Forget a token; whether there was one."""
        ...

    async def instances(self, uid: str, *, include_ended: bool = False) -> builtins.list[Instance]:
        """The instances of a cluster by ordinal; ended ones only if asked for."""
        ...

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> builtins.list[Event]:
        """The kept events of a cluster whose revision is greater than `after`, oldest first."""
        ...

    async def changes(self, after: int, limit: int = 1000) -> builtins.list[Change]:
        """What changed after that revision, in order, each change once.

        Raises
        ------
        ResumeTokenExpired
            When what followed `after` is not all kept any more, or `after` has not been reached yet (a backup was
            restored).
        """
        ...

    def subscribe(self) -> Subscription:
        """A way to wait for the next change."""
        ...

    async def prune(self, *, ended_before: float, events_before: float, keep_events: int) -> PruneResult:
        """Forget clusters that ended before that time, with all that belongs to them, and old history.

        Parameters
        ----------
        ended_before, events_before
            Unix seconds.
        keep_events
            How many changes (events among them) are kept at most, however young.
        """
        ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy of the state to a file of mode 0600, replacing it whole; others go on meanwhile.

        Raises
        ------
        InvalidArgument
            When the file can't be written there.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun, wake those who wait, let go of the state directory. Again: does nothing."""
        ...
