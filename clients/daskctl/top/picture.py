"""What the full screen knows: the daemon's answers so far, laid over each other. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from daskd_client.types import Change, Cluster, DaemonInfo, Event, WatchKind, Worker, WorkerState

PATIENCE = timedelta(seconds=2)
"""How long an answer may take before people are told that they look at the past."""

ENDED_STAY = timedelta(minutes=1)
"""How long a cluster is shown after its end: somebody may want to read why it ended."""

MOST_EVENTS = 200
"""How many events of a cluster are kept; no screen has more lines."""

_JOINED = frozenset({WorkerState.RUNNING, WorkerState.PAUSED, WorkerState.RETIRING})


@dataclass(frozen=True)
class ClusterLoad:
    """A cluster, and what those of its workers hold and do that have joined. Memory in bytes, its limit 0 for none."""

    cluster: Cluster
    nthreads: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    processing: int = 0
    executing: int = 0


def load_of(cluster: Cluster, workers: Iterable[Worker]) -> ClusterLoad:
    """Sum up a cluster's workers; one without a limit leaves the sum without one."""
    joined = [worker for worker in workers if worker.state in _JOINED]
    limits = [worker.memory_limit_bytes for worker in joined]
    return ClusterLoad(
        cluster,
        nthreads=sum(worker.nthreads for worker in joined),
        memory_bytes=sum(worker.memory_bytes for worker in joined),
        memory_limit_bytes=sum(limits) if all(limits) else 0,
        processing=sum(worker.processing for worker in joined),
        executing=sum(worker.executing for worker in joined),
    )


class Picture:
    """The daemon and its clusters as last heard.

    Attributes
    ----------
    info
        What the daemon says of itself.
    clusters, workers
        By the cluster's uid.
    is_complete
        Whether all clusters that exist were told.
    with_history
        The uids of clusters whose events from before the watch were added.
    """

    def __init__(self, info: DaemonInfo, now: datetime) -> None:
        self.info = info
        self.clusters: dict[str, Cluster] = {}
        self.workers: dict[str, tuple[Worker, ...]] = {}
        self.is_complete = False
        self.with_history: set[str] = set()
        self._asked: datetime | None = None
        self._answered = now
        self._events: dict[str, dict[int, Event]] = {}
        self._existing: set[str] = set()

    def absorb(self, change: Change) -> None:
        """Take in an answer of a watch; one that begins anew ends what it does not tell of any more."""
        if change.kind is WatchKind.SYNCED:
            for uid in set(self.clusters) - self._existing:
                self.drop(uid)
            # what happened while nobody was told is in the histories alone
            self.with_history.clear()
            self._existing = set()
            self.is_complete = True
        if change.cluster is not None:
            self.clusters[change.cluster.uid] = change.cluster
            if change.kind is WatchKind.EXISTING:
                self._existing.add(change.cluster.uid)
        if change.event is not None:
            self._add(change.event.cluster_uid, [change.event])

    def add_history(self, uid: str, events: Iterable[Event]) -> None:
        """Take in a cluster's events from before the watch; those that are known already are told once."""
        self._add(uid, events)
        self.with_history.add(uid)

    def _add(self, uid: str, events: Iterable[Event]) -> None:
        known = self._events.get(uid, {}) | {event.revision: event for event in events}
        self._events[uid] = dict(sorted(known.items())[-MOST_EVENTS:])

    def events(self, uid: str) -> list[Event]:
        """A cluster's last events, oldest first."""
        return list(self._events.get(uid, {}).values())

    def loads(self) -> list[ClusterLoad]:
        """All clusters, with what their workers take."""
        return [load_of(cluster, self.workers.get(uid, ())) for uid, cluster in self.clusters.items()]

    def drop(self, uid: str) -> None:
        """Forget a cluster: the daemon does not know it any more, or it is no longer the user's to see."""
        self.clusters.pop(uid, None)
        self.workers.pop(uid, None)
        self._events.pop(uid, None)
        self.with_history.discard(uid)

    def drop_ended(self, now: datetime, keep: str) -> None:
        """Forget the clusters that ended a while ago, but for the one that is looked at."""
        ended = [uid for uid, cluster in self.clusters.items() if cluster.end_time and uid != keep]
        for uid in ended:
            end = self.clusters[uid].end_time
            if end is not None and now - end > ENDED_STAY:
                self.drop(uid)

    def asks(self, now: datetime) -> None:
        """Note that the daemon is asked; asked again before it answered, it has not answered since the first time."""
        if self._asked is None:
            self._asked = now

    def hears(self, now: datetime) -> None:
        """Note that the daemon said something."""
        self._answered = now

    def is_answered(self, now: datetime) -> None:
        """Note that all that it was asked is answered."""
        self._asked, self._answered = None, now

    def silent_since(self, now: datetime) -> datetime | None:
        """Since when the daemon has left a question unanswered for longer than is usual; None: it answers."""
        if self._asked is None or now - max(self._asked, self._answered) <= PATIENCE:
            return None
        return self._answered
