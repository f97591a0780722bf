"""Clusters and instances as they are recorded."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from .access import Grant
from .spec import AdaptivePolicy, ClusterSpec


class Phase(str, enum.Enum):
    """The life of a cluster; see `Phase` of the API."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


ENDED = frozenset({Phase.STOPPED, Phase.FAILED})
"""The phases in which nothing of a cluster runs any more, once `Cluster.ended` is set."""


class Role(str, enum.Enum):
    """What an instance holds."""

    SCHEDULER = "scheduler"
    NODE = "node"


class Record(str, enum.Enum):
    """What we know of an instance's launch.

    `INTENDED` is on disk before the driver is asked; `UNSURE` may or may not have been launched; `ABANDONED` was
    never seen and is fenced, so that it never joins.
    """

    INTENDED = "intended"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNSURE = "unsure"
    ABANDONED = "abandoned"


class State(str, enum.Enum):
    """What a driver observes of an instance."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    ENDING = "ending"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Cause(str, enum.Enum):
    """Why an instance ended."""

    EXITED = "exited"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    CANCELLED = "cancelled"
    FAILED_TO_START = "failed_to_start"
    FENCED = "fenced"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class End:
    """How an instance ended; `certain` is False where the system says so but its processes may run on."""

    cause: Cause
    code: int | None = None
    signal: int | None = None
    words: str = ""
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Handle:
    """All that a driver needs to find and end an instance. Plain data, versioned, written before the launch.

    Attributes
    ----------
    id
        The instance's id.
    announce
        What its node says of itself at the scheduler; for most drivers the id.
    data
        The driver's own; JSON values.
    """

    driver: str
    version: int
    id: str
    announce: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def element(self) -> str:
        """What a system that launches many at once under one name calls it: `name.index`; for others the id."""
        return str(self.data.get("element", self.id))


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing that a driver launched, or was about to.

    Attributes
    ----------
    group
        The worker group's name; empty for a scheduler.
    ordinal
        A number of its own within the cluster; workers are named by it and no name is used twice.
    workers
        Names of the workers that it holds.
    created, launched, joined, ended
        Unix seconds, of: the intent, the launch's answer, its node's or scheduler's first word, its end.
    retiring
        Since when its workers are being retired; None: they are not.
    stopping
        Since when the driver was last asked to end it; None: it was not.
    words
        What the system says of it.
    started
        When its system began to run it, unix seconds: jobs may wait long after their launch.
    expected_end
        When its system will end it, unix seconds; None: not that is known.
    rotating
        Since when another is to take its place, for its time is nearly over, or one of its nodes is gone; None: it
        is not. Of a scheduler: since when its end has been told.
    unknown_since
        Since when its system can say nothing of it, unix seconds; None: it can.
    """

    id: str
    cluster: str
    role: Role
    group: str
    ordinal: int
    workers: tuple[str, ...]
    handle: Handle
    created: float
    record: Record = Record.INTENDED
    state: State = State.UNKNOWN
    end: End | None = None
    launched: float | None = None
    joined: float | None = None
    retiring: float | None = None
    stopping: float | None = None
    ended: float | None = None
    host: str = ""
    pid: int | None = None
    words: str = ""
    started: float | None = None
    expected_end: float | None = None
    rotating: float | None = None
    unknown_since: float | None = None


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The scheduler's process as last heard of.

    Attributes
    ----------
    address
        Where clients connect; kept when it has to be started again.
    restarts
        Unix seconds of the times it was started again after dying unasked.
    heard
        When the link last answered, unix seconds.
    link
        Where one that a driver placed said that its link is, such as "tls://10.0.0.7:43210"; empty: it has not.
    resumable, unresumable
        Whether the cluster's work would survive its death, as it said; why not, in words.
    """

    instance: str = ""
    address: str = ""
    dashboard: str = ""
    host: str = ""
    pid: int | None = None
    started: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    restarts: tuple[float, ...] = ()
    heard: float | None = None
    link: str = ""
    resumable: bool = False
    unresumable: str = ""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The adaptive policy of a group at work: its bounds in workers, what it wants now and why."""

    policy: AdaptivePolicy
    since: float
    target: int = 0
    reason: str = ""
    reason_code: str = ""
    decided: float | None = None


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """Ready tasks that no worker of any group can run: how many, what they need, one's key, and that in words."""

    count: int
    restriction: str
    example: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A worker group's changing part.

    Attributes
    ----------
    desired
        How many workers it should have.
    adaptive
        The policy in force; None: its count is fixed.
    removing
        It goes as soon as its workers have.
    failures
        Failed launches in a row.
    retry_at
        Not launched again before this, unix seconds.
    pending, running, ending
        Counts of workers, as last reconciled.
    start_times
        The last nine times, in seconds, from launch to joined.
    last_join
        When one of its nodes last joined, unix seconds.
    """

    name: str
    desired: int = 0
    adaptive: Adaptive | None = None
    removing: bool = False
    failures: int = 0
    retry_at: float | None = None
    message: str = ""
    pending: int = 0
    running: int = 0
    ending: int = 0
    start_times: tuple[float, ...] = ()
    last_join: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """How much lost clients left."""

    clients: int = 0
    keys: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's record. Desired: `spec`, `desired`, `adaptive`, `removing` of `groups`, `stop`, `grants`.

    The rest is observed.

    Attributes
    ----------
    adaptive_memory
        What the last decision of the adaptive policy told the next (JSON).
    unplaceable
        Tasks that no group can run, as the last decision saw them.
    stop
        Why it shall end ("deleted by ann", "idle for 1 h"); empty: it shall run.
    failed
        It shall end because it could not be kept up: it rests as FAILED.
    grants
        Whom it is shared with.
    had_workers
        A group that was removed had a worker once.
    expiry_told
        The end of its lifetime that was warned of, unix seconds; None: of none.
    dashboard_proxied
        The daemon serves its dashboard, with a login, and nothing of it is on TCP. Decided when it is made, for good.
    next_ordinal
        The next instance's ordinal.
    revision
        The store's revision that wrote it.
    """

    uid: str
    name: str
    owner: str
    owner_uid: int
    spec: ClusterSpec
    created: float
    updated: float
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    ended: float | None = None
    stop: str = ""
    failed: bool = False
    grants: tuple[Grant, ...] = ()
    had_workers: bool = False
    groups: tuple[Group, ...] = ()
    adaptive_memory: dict[str, Any] = field(default_factory=dict)
    unplaceable: tuple[Unplaceable, ...] = ()
    scheduler: Scheduler = Scheduler()
    held: Held = Held()
    idle_since: float | None = None
    expiry_told: float | None = None
    next_ordinal: int = 0
    event_seq: int = 0
    revision: int = 0
    dashboard_proxied: bool = False

    @property
    def dashboard_prefix(self) -> str:
        """The path below which the daemon serves its dashboard; empty: it does not."""
        return f"/clusters/{self.uid}" if self.dashboard_proxied else ""

    def group(self, name: str) -> Group:
        """The changing part of the group of that name.

        Raises
        ------
        KeyError
            When there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    @property
    def expires(self) -> float | None:
        """When its lifetime is over, unix seconds; None: never."""
        return None if self.spec.max_lifetime is None else self.created + self.spec.max_lifetime

    @property
    def adaptive_groups(self) -> tuple[str, ...]:
        """Names of the groups whose number of workers follows the work, in order of preference."""
        return tuple(group.name for group in self.groups if group.adaptive is not None and not group.removing)
