"""Held work: what lost clients wanted stays wanted, until somebody takes it or a bound is reached.

``distributed`` forgets a task when nobody wants it any more. The keeper lets one *holder*, a
``ClientState`` without a connection, want the keys of each lost client. The scheduler's own sets
(``TaskState.who_wants``, ``ClientState.wants_what``) are the only record of which keys are held: a
key that is cancelled or forgotten leaves them by itself, and two holders of a key are two entries.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed.scheduler import ClientState, TaskState

logger = logging.getLogger("daskd.held")

Key = Any  # Dask's keys: str, bytes, int, float or tuples of them

#: Ids of holders in ``Scheduler.clients`` begin with this.
HOLDER_PREFIX = "daskd-held-"

#: Ids of clients that ``get_client`` made inside a worker: their work belongs to the task that made them.
_WORKER_CLIENT = re.compile(r"\w+-worker-[0-9a-f]{8}-")

_LOST_KEPT = 200  # reports of held keys that were lost, for /v1/held
_SAMPLE = 20  # keys of a client shown as text


@dataclass(frozen=True)
class HeldBounds:
    """How long, and how much of the workers' memory, held work may stay.

    Parameters
    ----------
    seconds : float
        Time from a client's loss until its work is let go.
    memory_share : float
        Part, 0 to 1, of the workers' memory limits together that held results may fill. Beyond
        it the client lost first loses its hold first. Workers without a limit set no bound.
    """

    seconds: float = 86400.0
    memory_share: float = 0.5


@dataclass
class LostClient:
    """A client that went without goodbye, and the holder that wants its keys."""

    client: str
    since: float  # unix seconds
    deadline: float  # when its work is let go, on the monotonic clock: a set wall clock moves nothing
    holder: ClientState
    taken: Counter[str] = field(default_factory=Counter)  # keys taken, by who took them, not told yet
    gone: list[Key] = field(default_factory=list)  # keys lost, not told yet


def is_worker_client(client: str) -> bool:
    """Whether ``client`` is the id of a client that a task made inside a worker."""
    return _WORKER_CLIENT.match(client) is not None


def count_bytes(tasks: Iterable[TaskState]) -> int:
    """Bytes of the results among ``tasks`` that are in memory, each result counted once."""
    return sum(max(ts.nbytes, 0) for ts in tasks if ts.state == "memory")


class Keeper:
    """Holds what lost clients wanted.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler whose clients are kept.
    bounds : HeldBounds
        When held work is let go.
    journal : callable
        ``journal(type, words, **facts)``, told of every hold, recovery, expiry and loss.
    """

    def __init__(self, scheduler: Any, bounds: HeldBounds, journal: Callable[..., None]) -> None:
        self.scheduler = scheduler
        self.bounds = bounds
        self._journal = journal
        self._lost: dict[str, LostClient] = {}  # the client lost first comes first
        self._losses: deque[dict[str, Any]] = deque(maxlen=_LOST_KEPT)
        self._given_back: dict[str, list[Key]] = {}  # by client: not recovered by it yet
        self._counted: tuple[tuple[int, int], float, dict[str, int]] | None = None
        self._changes = 0

    # -- what is held --------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether any key is held."""
        return any(lost.holder.wants_what for lost in self._lost.values())

    @property
    def clients(self) -> list[LostClient]:
        """Lost clients that something is held for, the one lost first at the head."""
        return [lost for lost in self._lost.values() if lost.holder.wants_what]

    def tasks(self) -> set[TaskState]:
        """Every held task once, however many lost clients wanted it."""
        found: set[TaskState] = set()
        return found.union(*(lost.holder.wants_what for lost in self._lost.values()))

    def counts(self) -> dict[str, int]:
        """Lost clients, held keys and bytes of held results, a key of two clients counted once.

        Counting walks every held task: counts are reused while nothing changed, and at most a
        twentieth of the loop's time goes into counting however often it is asked for.
        """
        if not self.holds:
            return {"clients": 0, "keys": 0, "bytes": 0}
        version = (self.scheduler.transition_counter, self._changes)
        if self._counted is not None:
            counted_at, fresh_until, counts = self._counted
            if counted_at == version or time.perf_counter() < fresh_until:
                return counts
        begin = time.perf_counter()
        tasks = self.tasks()
        counts = {"clients": len(self.clients), "keys": len(tasks), "bytes": count_bytes(tasks)}
        end = time.perf_counter()
        self._counted = (version, end + 20 * (end - begin), counts)
        return counts

    def document(self, *, all_keys: bool = False) -> dict[str, Any]:
        """What is held and what was lost, for the link's ``/v1/held``.

        Parameters
        ----------
        all_keys : bool
            Let each client's ``keys`` be the keys themselves, which are not JSON, not their number.
        """
        clients = []
        for lost in self.clients:
            tasks = lost.holder.wants_what
            entry = {
                "client": lost.client,
                "since": lost.since,
                "expires": time.time() + lost.deadline - time.monotonic(),
                "keys": [ts.key for ts in tasks] if all_keys else len(tasks),
                "bytes": count_bytes(tasks),
                "states": dict(Counter(ts.state for ts in tasks)),
                "sample": [str(ts.key) for ts, _ in zip(tasks, range(_SAMPLE), strict=False)],
            }
            clients.append(entry)
        return {
            "seconds": self.bounds.seconds,
            "memory_share": self.bounds.memory_share,
            "clients": clients,
            "lost": list(self._losses),
        }

    # -- into the keeper -----------------------------------------------------------------------

    def take(self, client: str) -> int:
        """Hold all that ``client`` wants now; to be called before the scheduler releases it.

        Returns
        -------
        int
            How many keys of the client are held now. 0 for clients inside workers, which are
            never kept.
        """
        cs = self.scheduler.clients.get(client)
        if cs is None or not cs.wants_what or is_worker_client(client) or client.startswith(HOLDER_PREFIX):
            return 0
        lost = self._lost.pop(client, None)
        if lost is None:
            lost = LostClient(client, 0.0, 0.0, ClientState(HOLDER_PREFIX + client))
        lost.since = time.time()
        lost.deadline = time.monotonic() + self.bounds.seconds
        self._lost[client] = lost  # at the end: lost last
        self.scheduler.clients[lost.holder.client_key] = lost.holder
        for ts in cs.wants_what:
            ts.who_wants.add(lost.holder)
            lost.holder.wants_what.add(ts)
        self._changes += 1
        held = len(lost.holder.wants_what)
        logger.info("Client %s went without goodbye: %d keys are held", client, held)
        self._journal(
            "held",
            f"client {client} went without goodbye; its {held} keys are held",
            client=client,
            keys=held,
        )
        return held

    def hold_again(self, client: str) -> None:
        """Have a holder for ``client``, which the scheduler's predecessor lost or was lost by, if there is none."""
        if client not in self._lost:
            deadline = time.monotonic() + self.bounds.seconds
            lost = LostClient(client, time.time(), deadline, ClientState(HOLDER_PREFIX + client))
            self._lost[client] = lost
            self.scheduler.clients[lost.holder.client_key] = lost.holder
            self._changes += 1

    def lost_with_scheduler(self, client: str, keys: list[Key]) -> None:
        """Note keys that ``client`` wanted and that did not outlive their scheduler."""
        self.hold_again(client)
        self._note_loss(self._lost[client], keys, "their scheduler ended, and what they were made of is gone")

    # -- out of the keeper ---------------------------------------------------------------------

    def give_back(self, client: str) -> int:
        """Let ``client``, which has come back under its own id, want its held keys itself."""
        if client not in self._lost or client not in self.scheduler.clients:
            return 0
        keys = self._hand_to(client, [self._lost[client]])
        self._given_back[client] = keys
        return len(keys)

    def forget_client(self, client: str) -> None:
        """A client is gone: what was given back to it needs no recovery by it."""
        self._given_back.pop(client, None)

    def recover(self, client: str, lost: Collection[str] | None = None) -> list[Key]:
        """Hand held keys to a connected client, in one step that nothing can come between.

        Parameters
        ----------
        client : str
            Id of the client that is to have them; it must be connected.
        lost : collection of str, optional
            Ids of the lost clients whose keys are wanted; by default all.

        Returns
        -------
        list
            The keys, each once, which ``client`` now wants, those too that it was given back when it returned: its
            own futures of them are cancelled. What it is told of their states may
            reach it before this list does; announcing each key again makes the scheduler repeat it.

        Raises
        ------
        ValueError
            ``client`` is not connected, or something other than a list of ids was given.
        """
        if client not in self.scheduler.client_comms:
            raise ValueError(f"client {client!r} is not connected to this scheduler: connect it first")
        if isinstance(lost, str):
            raise ValueError("lost must be a list of client ids, or None for all")
        chosen = [one for one in self.clients if lost is None or one.client in lost]
        keys = dict.fromkeys(self._hand_to(client, chosen))
        if lost is None or client in lost:
            wanted = self.scheduler.clients[client].wants_what
            for key in self._given_back.pop(client, ()):
                if self.scheduler.tasks.get(key) in wanted:
                    keys[key] = None
        return list(keys)

    def desired(self, keys: Iterable[Key], client: str) -> None:
        """``client`` has come to want ``keys``: what of them is held needs no holder any more.

        Only for connected clients outside workers: what a task's client or a published name
        wants may be let go long before the lost client's owner is back.
        """
        if not self._lost or client not in self.scheduler.client_comms or is_worker_client(client):
            return
        for key in keys:
            ts = self.scheduler.tasks.get(key)
            if ts is None or not ts.who_wants:
                continue
            for lost in [x for x in self._lost.values() if x.holder in ts.who_wants]:
                self._let_go(lost, ts, client)
                lost.taken[client] += 1

    def discard(self, client: str | None = None) -> dict[str, int]:
        """Let go of what is held for lost client ``client``, by default for all.

        Returns
        -------
        dict
            ``keys`` and ``bytes`` that were let go.
        """
        chosen = [lost for lost in self.clients if client is None or lost.client == client]
        return self._release(chosen, "held-discarded", "were discarded")

    def drop_all(self, why: str) -> None:
        """Give up all that is held, which is lost: ``why`` completes "N held keys were lost: ..."."""
        for lost in list(self._lost.values()):
            keys = [ts.key for ts in lost.holder.wants_what]
            self._tell(lost)
            if keys:
                self._note_loss(lost, keys, why)
                self._unwant(lost, keys, "lost")
            self._unhold(lost)

    def forgetting(self, ts: TaskState) -> None:
        """The scheduler is about to forget ``ts`` though it may be held: note whose it was."""
        if self._lost and ts.who_wants:
            for lost in self._lost.values():
                if lost.holder in ts.who_wants:
                    lost.gone.append(ts.key)

    # -- bounds --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Tell what was taken or lost since the last call, and enforce the bounds."""
        for lost in list(self._lost.values()):
            self._tell(lost)
            if not lost.holder.wants_what:
                self._unhold(lost)
        self._expire_by_time()
        self._expire_by_memory()

    def _expire_by_time(self) -> None:
        now = time.monotonic()
        expired = [lost for lost in self.clients if now >= lost.deadline]
        if expired:
            self._release(expired, "held-expired", f"nobody came for them in {self.bounds.seconds:g} s")

    def _expire_by_memory(self) -> None:
        if not self._lost:
            return
        workers = self.scheduler.workers.values()
        bound = self.bounds.memory_share * sum(ws.memory_limit or 0 for ws in workers)
        # What workers hold in all is cheap to know, and no less than what of it is held.
        if bound <= 0 or sum(ws.nbytes for ws in workers) <= bound:
            return
        for lost in self.clients:
            if count_bytes(self.tasks()) <= bound:
                return
            words = f"held results filled over {self.bounds.memory_share:.0%} of the workers' memory"
            self._release([lost], "held-expired", words)

    # -- bookkeeping ---------------------------------------------------------------------------

    def _hand_to(self, client: str, chosen: list[LostClient]) -> list[Key]:
        cs = self.scheduler.clients[client]
        keys: dict[Key, None] = {}
        for lost in chosen:
            # Wanted by the client first and by the holder no longer after: never by nobody.
            for ts in list(lost.holder.wants_what):
                ts.who_wants.add(cs)
                cs.wants_what.add(ts)
                self.scheduler.note_wanted(client, [ts.key])
                self._let_go(lost, ts, client)
                lost.taken[client] += 1
                keys[ts.key] = None
            self._tell(lost)
            self._unhold(lost)
        for key in keys:
            self.scheduler.report_on_key(key, client=client)
        return list(keys)

    def _let_go(self, lost: LostClient, ts: TaskState, taker: str) -> None:
        """Take the holder off a task that somebody else wants, or the lost client itself, which is back."""
        if taker != lost.client:
            self.scheduler.note_released(lost.holder.client_key, [ts.key])
        lost.holder.wants_what.discard(ts)
        ts.who_wants.discard(lost.holder)
        self._changes += 1

    def _release(self, chosen: list[LostClient], type_: str, words: str) -> dict[str, int]:
        tasks: set[TaskState] = set()
        tasks = tasks.union(*(lost.holder.wants_what for lost in chosen))
        freed = {"keys": len(tasks), "bytes": count_bytes(tasks)}
        for lost in chosen:
            keys = [ts.key for ts in lost.holder.wants_what]
            text = f"{len(keys)} keys held for lost client {lost.client}: {words}"
            self._journal(type_, text, client=lost.client, keys=len(keys), bytes=count_bytes(lost.holder.wants_what))
            self._unwant(lost, keys, type_)
            self._tell(lost)
            self._unhold(lost)
        return freed

    def _unwant(self, lost: LostClient, keys: list[Key], why: str) -> None:
        """Let the scheduler release keys that perhaps nobody wants any more."""
        self.scheduler.client_releases_keys(
            keys=keys, client=lost.holder.client_key, stimulus_id=f"daskd-{why}-{time.time()}"
        )

    def _unhold(self, lost: LostClient) -> None:
        """Forget a holder that wants nothing any more."""
        self.scheduler.clients.pop(lost.holder.client_key, None)
        self._lost.pop(lost.client, None)
        self._changes += 1

    def _tell(self, lost: LostClient) -> None:
        """Tell of takings and losses, many keys in one event."""
        for client, n in lost.taken.items():
            self._journal(
                "held-recovered",
                f"client {client} took {n} of the keys held for lost client {lost.client}",
                client=client,
                lost=lost.client,
                keys=n,
            )
        lost.taken.clear()
        if lost.gone:
            keys, lost.gone = lost.gone, []
            self._note_loss(lost, keys, "the workers that held them, or what they were made of, are gone")

    def _note_loss(self, lost: LostClient, keys: list[Key], why: str) -> None:
        words = f"{len(keys)} keys held for lost client {lost.client} were lost: {why}"
        self._losses.append({"t": time.time(), "keys": len(keys), "words": words})
        self._journal("held-lost", words, client=lost.client, keys=len(keys), sample=[str(k) for k in keys[:_SAMPLE]])
