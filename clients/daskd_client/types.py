"""What the API answers and takes, as plain frozen dataclasses.

Their fields are called as the API's are and mean what ``cluster.proto`` says of them. Times are aware datetimes in UTC,
durations timedeltas; what is absent is None. An enum value or a field that this release does not know is passed over.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


class Phase(str, enum.Enum):
    """The life of a cluster. Those in -ING pass by themselves, the others rest."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


ENDED = frozenset({Phase.STOPPED, Phase.FAILED})
"""The phases in which a cluster takes no clients and never will again."""


class WorkerState(str, enum.Enum):
    """What state a worker is in."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RETIRING = "RETIRING"
    ENDING = "ENDING"
    ENDED = "ENDED"
    UNKNOWN = "UNKNOWN"


class WatchKind(str, enum.Enum):
    """What a watch tells: a cluster that was there, that all of them were told, or a change."""

    UNSPECIFIED = "UNSPECIFIED"
    EXISTING = "EXISTING"
    SYNCED = "SYNCED"
    CHANGED = "CHANGED"


class Right(str, enum.Enum):
    """What somebody may do with another user's cluster; each includes the ones before it.

    To use it is to connect, which is to run code as its owner.
    """

    UNSPECIFIED = "UNSPECIFIED"
    VIEW = "VIEW"
    USE = "USE"
    MANAGE = "MANAGE"


@dataclass(frozen=True)
class Grant:
    """Somebody whom a cluster is shared with: a user, or "@" and a group."""

    who: str = ""
    right: Right = Right.UNSPECIFIED


@dataclass(frozen=True)
class WorkerGroupSpec:
    """Workers of one kind. Empty, None and 0 mean the daemon's default, but for 0 workers."""

    name: str = ""
    driver: str = ""
    n_workers: int | None = None
    nthreads: int = 0
    memory_limit: str = ""
    workers_per_node: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    local_directory: str = ""
    death_timeout: timedelta | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    adaptive: AdaptivePolicy | None = None
    python: str = ""
    cwd: str = ""
    preload: tuple[str, ...] = ()
    worker_class: str = ""
    worker_options: Mapping[str, Any] = field(default_factory=dict)
    prologue: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdaptivePolicy:
    """How the number of workers of a group follows the work; None leaves a parameter to the daemon.

    Bounds are in workers, in threads (``_cores``), and in memory ("64GiB"); the strictest holds.
    """

    minimum: int | None = None
    maximum: int | None = None
    interval: timedelta | None = None
    wait_count: int | None = None
    target_duration: timedelta | None = None
    initial: int | None = None
    minimum_cores: int | None = None
    maximum_cores: int | None = None
    minimum_memory: str = ""
    maximum_memory: str = ""
    cool_down: timedelta | None = None


@dataclass(frozen=True)
class HeldWorkPolicy:
    """How long, and in how large a share of the workers' memory (0 to 1), a lost client's work is kept."""

    keep: timedelta | None = None
    memory_share: float | None = None


@dataclass(frozen=True)
class SchedulerSpec:
    """The scheduler: where it runs, what it loads, more keyword arguments of it, lines of shell before it.

    `network`: whether other machines can reach it; None: if a group's driver launches elsewhere. `driver` and
    `driver_options`: what launches one of the placement "driver" (empty: the first group's), and what that is told.
    """

    placement: str = ""
    preload: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    prologue: tuple[str, ...] = ()
    network: bool | None = None
    driver: str = ""
    driver_options: Mapping[str, Any] = field(default_factory=dict)


class IdleAction(enum.Enum):
    """What happens to a cluster that was idle for its time-out."""

    UNSPECIFIED = "UNSPECIFIED"
    DELETE = "DELETE"
    SCALE_TO_ZERO = "SCALE_TO_ZERO"


class SchedulerLossAction(enum.Enum):
    """What follows when the scheduler of a cluster ends unasked."""

    UNSPECIFIED = "UNSPECIFIED"
    RESUME = "RESUME"
    RESTART = "RESTART"
    FAIL = "FAIL"


@dataclass(frozen=True)
class ClusterSpec:
    """What a user wants; None and empty leave it to the profile, then to the daemon."""

    profile: str = ""
    groups: tuple[WorkerGroupSpec, ...] = ()
    python: str = ""
    cwd: str = ""
    import_path: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    idle_timeout: timedelta | None = None
    held_work: HeldWorkPolicy | None = None
    dashboard: bool | None = None
    scheduler: SchedulerSpec | None = None
    max_lifetime: timedelta | None = None
    lifetime_warning: timedelta | None = None
    on_idle: IdleAction = IdleAction.UNSPECIFIED
    on_scheduler_loss: SchedulerLossAction = SchedulerLossAction.UNSPECIFIED


@dataclass(frozen=True)
class SchedulerStatus:
    """The scheduler's process."""

    instance: str = ""
    address: str = ""
    dashboard_link: str = ""
    host: str = ""
    pid: int = 0
    start_time: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    restarts: int = 0
    last_heard_time: datetime | None = None
    resumable: bool = False
    not_resumable_reason: str = ""


@dataclass(frozen=True)
class WorkerGroupStatus:
    """A worker group as it is now; memory in bytes."""

    name: str = ""
    driver: str = ""
    desired: int = 0
    pending: int = 0
    running: int = 0
    ending: int = 0
    nthreads: int = 0
    memory_limit_bytes: int = 0
    failures: int = 0
    message: str = ""
    adaptive: AdaptiveStatus | None = None
    removing: bool = False


@dataclass(frozen=True)
class AdaptiveStatus:
    """The adaptive policy of a group at work: its bounds in workers, what it wants and why."""

    policy: AdaptivePolicy | None = None
    target: int = 0
    reason: str = ""
    decision_time: datetime | None = None


@dataclass(frozen=True)
class UnplaceableTasks:
    """Ready tasks that no worker of any group can run: how many, what they need, the key of one, that in words."""

    count: int = 0
    restriction: str = ""
    example: str = ""
    message: str = ""


@dataclass(frozen=True)
class HeldWorkSummary:
    """How much lost clients left."""

    clients: int = 0
    keys: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Cluster:
    """A cluster as the daemon knows it."""

    uid: str = ""
    name: str = ""
    owner: str = ""
    spec: ClusterSpec | None = None
    phase: Phase = Phase.UNSPECIFIED
    reason: str = ""
    message: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None
    revision: int = 0
    scheduler: SchedulerStatus | None = None
    groups: tuple[WorkerGroupStatus, ...] = ()
    held_work: HeldWorkSummary | None = None
    idle_since: datetime | None = None
    delete_requested: bool = False
    grants: tuple[Grant, ...] = ()
    unplaceable_tasks: tuple[UnplaceableTasks, ...] = ()
    expire_time: datetime | None = None

    def group(self, name: str = "") -> WorkerGroupStatus:
        """The group of that name; by default the first that is not being removed.

        Raises
        ------
        KeyError
            There is none.
        """
        for group in self.groups:
            if group.name == name or (not name and not group.removing):
                return group
        raise KeyError(name)

    @property
    def expiring(self) -> bool:
        """Whether its end by `max_lifetime` was warned of; told by the daemon's clock, as all times of a record are."""
        warning = self.spec.lifetime_warning if self.spec is not None else None
        if self.expire_time is None or self.update_time is None or not warning:
            return False
        return self.update_time >= self.expire_time - warning

    @property
    def ended(self) -> bool:
        """Whether it is stopped or failed."""
        return self.phase in ENDED


@dataclass(frozen=True)
class Applied:
    """The cluster that a spec was applied to, and what was (or would be) changed, in words."""

    cluster: Cluster
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExitStatus:
    """How an instance ended."""

    cause: str = ""
    code: int | None = None
    signal: int | None = None
    message: str = ""


@dataclass(frozen=True)
class Worker:
    """One worker: alive, ended or still expected. Memory in bytes."""

    name: str = ""
    group: str = ""
    instance: str = ""
    driver: str = ""
    state: WorkerState = WorkerState.UNSPECIFIED
    address: str = ""
    host: str = ""
    pid: int = 0
    nthreads: int = 0
    memory_limit_bytes: int = 0
    memory_bytes: int = 0
    managed_bytes: int = 0
    processing: int = 0
    executing: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    launch_time: datetime | None = None
    join_time: datetime | None = None
    end_time: datetime | None = None
    exit: ExitStatus | None = None
    message: str = ""
    expected_end_time: datetime | None = None


@dataclass(frozen=True)
class Event:
    """Who did what and when; what the daemon did and why."""

    revision: int = 0
    time: datetime | None = None
    cluster_uid: str = ""
    cluster_name: str = ""
    owner: str = ""
    actor: str = ""
    type: str = ""
    message: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldWork:
    """One lost client's work."""

    client: str = ""
    lost_time: datetime | None = None
    expire_time: datetime | None = None
    keys: int = 0
    bytes: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    sample_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Discarded:
    """How much held work was let go."""

    keys: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class LogLine:
    """One line of a log, without its end; ``source`` is "scheduler" or the group's name."""

    time: datetime | None = None
    instance: str = ""
    source: str = ""
    workers: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Change:
    """One answer of a watch. ``event`` is there if events were asked for."""

    kind: WatchKind = WatchKind.UNSPECIFIED
    cluster: Cluster | None = None
    event: Event | None = None
    resume_token: str = ""


@dataclass(frozen=True)
class Connection:
    """What a Dask client needs to connect. Holds a key, which its repr does not show."""

    scheduler_address: str = ""
    tls_ca_certificate: str = field(default="", repr=False)
    tls_client_certificate: str = field(default="", repr=False)
    tls_client_key: str = field(default="", repr=False)
    dashboard_link: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DashboardLink:
    """Where a browser sees a dashboard. With an `expire_time` whoever opens it first is logged in as you: its repr
    does not show it."""

    link: str = field(default="", repr=False)
    expire_time: datetime | None = None


@dataclass(frozen=True)
class Token:
    """A token that lasts, without its secret.

    It makes no more of its user than `role` ("user", "operator", "admin"), and may do no more with a cluster than
    `right`.
    """

    id: str = ""
    description: str = ""
    user: str = ""
    role: str = ""
    right: Right = Right.UNSPECIFIED
    clusters: tuple[str, ...] = ()
    create_time: datetime | None = None
    expire_time: datetime | None = None


@dataclass(frozen=True)
class CreatedToken:
    """A token that was just made, and its secret, which is shown nowhere else."""

    token: Token
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class DaemonInfo:
    """What the daemon is, and whom it takes the caller for."""

    version: str = ""
    minimum_client_version: str = ""
    user: str = ""
    start_time: datetime | None = None
    pid: int = 0
    hostname: str = ""
    state_id: str = ""
    schema_version: int = 0
    live_clusters: int = 0
    listen_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """An administrator's template of a spec."""

    name: str = ""
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    max_workers: int = 0


@dataclass(frozen=True)
class Driver:
    """A system that can launch workers; ``options_schema`` is the JSON Schema of its options."""

    name: str = ""
    description: str = ""
    options_schema: Mapping[str, Any] = field(default_factory=dict)
    available: bool = False
    message: str = ""
