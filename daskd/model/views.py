"""What the daemon shows of things that it does not record: workers, log lines, held work, connections."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel

from .cluster import End
from .errors import Problem
from .identity import Identity
from .spec import ClusterSpec, WorkerGroupSpec


class WorkerState(str, enum.Enum):
    """What state a worker, or the instance that holds it, is in; see `WorkerState` of the API."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RETIRING = "RETIRING"
    ENDING = "ENDING"
    ENDED = "ENDED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker, alive or ended, or one that is still expected.

    Attributes
    ----------
    address
        Its Dask address; empty until it has joined.
    memory_limit_bytes
        0 means no limit.
    memory_bytes
        Memory that its process holds.
    managed_bytes
        Bytes of results that it stores.
    processing, executing
        Tasks that it is assigned, tasks that it executes right now.
    launched, joined, ended
        Unix seconds.
    message
        Why it waits, what hinders it.
    expected_end
        When its system will end it, unix seconds; None: not that is known.
    """

    name: str
    group: str
    instance: str
    driver: str
    state: WorkerState
    address: str = ""
    host: str = ""
    pid: int | None = None
    nthreads: int = 0
    memory_limit_bytes: int = 0
    memory_bytes: int = 0
    managed_bytes: int = 0
    processing: int = 0
    executing: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    launched: float | None = None
    joined: float | None = None
    ended: float | None = None
    end: End | None = None
    message: str = ""
    expected_end: float | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log.

    Attributes
    ----------
    time
        When it was written, unix seconds.
    instance
        The instance whose log it is from.
    source
        "scheduler", or the group's name.
    workers
        The workers whose instance it is; empty for the scheduler.
    text
        Without its line end.
    """

    time: float
    instance: str
    source: str
    workers: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class HeldWorkView:
    """One lost client's work.

    Attributes
    ----------
    lost, expires
        Unix seconds; `expires` is when it will be let go.
    states
        How many of its keys are in which state ("memory", "processing", "erred", ...).
    sample_keys
        A few of the keys, as text.
    """

    client: str
    lost: float
    expires: float | None
    keys: int
    bytes: int
    states: dict[str, int] = field(default_factory=dict)
    sample_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Instances of a group that wait for the same.

    Attributes
    ----------
    workers
        Those of them that are not there yet, or on their way out.
    reason
        What they wait for.
    since
        Since when the longest of them has waited, unix seconds.
    """

    instances: int
    workers: int
    state: WorkerState
    reason: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class GroupExplanation:
    """Why a worker group is as it is.

    Attributes
    ----------
    decided_by
        "count", "adaptive", "removing".
    reasons
        A sentence each, the most telling first.
    ready_tasks
        Ready tasks that its workers could run.
    """

    name: str
    target: int
    decided_by: str
    reasons: tuple[str, ...] = ()
    ready_tasks: int = 0
    waiting: tuple[WaitingView, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a cluster is as it is, a sentence each reason."""

    reasons: tuple[str, ...]
    groups: tuple[GroupExplanation, ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """What a Dask client needs to connect. Holds a key, which its repr leaves out.

    Attributes
    ----------
    scheduler_address
        For example "tls://127.0.0.1:41234".
    ca_certificate, client_certificate, client_key
        PEM.
    versions
        Versions at the scheduler, by package.
    """

    scheduler_address: str
    ca_certificate: str = field(repr=False)
    client_certificate: str = field(repr=False)
    client_key: str = field(repr=False)
    dashboard_link: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a driver would do to launch a group, for people to read; nothing secret is in it.

    Attributes
    ----------
    command
        The command that submits, as a shell takes it.
    submissions
        How often it would be run at first, for as many instances as there shall be.
    script
        What it submits.
    """

    command: str
    submissions: int
    script: str


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """A driver as the API shows it and asks it.

    Attributes
    ----------
    options
        The model of its options, from which schema and error messages are made.
    available, words
        Whether it can be used now; if not, why and what to do.
    validate
        What else is wrong with a group; fields relative to the group ("options.queue").
    complete
        The group with what it leaves to the system decided.
    elsewhere
        Whether its instances may run on other machines than the daemon's.
    preview
        What it would do for a group of a spec; None: it has nothing to show.
    """

    name: str
    description: str
    options: type[BaseModel]
    available: bool
    words: str
    validate: Callable[[WorkerGroupSpec, Identity], list[Problem]]
    complete: Callable[[WorkerGroupSpec], WorkerGroupSpec]
    elsewhere: bool = False
    preview: Callable[[ClusterSpec, WorkerGroupSpec, Identity], Preview | None] = lambda _spec, _group, _who: None
