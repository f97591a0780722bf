"""What the adaptive policy is told and what it answers: values only, checked when they are made."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Pairs = tuple[tuple[str, float], ...]
"""Named amounts, sorted by name: a mapping that can be hashed and is never changed."""

Staircase = tuple[tuple[float, int], ...]
"""When a level was last reached, and the level: times rise, levels fall."""


class BadMemory(ValueError):
    """A persisted memory that this release can't read; begin again with an empty one."""


class Billing(enum.Enum):
    """From when an instance costs its owner something."""

    FROM_LAUNCH = "launch"
    FROM_START = "start"


class InstanceState(enum.Enum):
    """An instance as the policy sees it."""

    PENDING = "pending"
    RUNNING = "running"
    ENDING = "ending"


class Reason(enum.Enum):
    """Why a group is as it is: stable, while the words beside it move with every figure."""

    NO_WORD = "no-word"
    UP = "up"
    UP_GUESS = "up-guess"
    UP_STEADY = "up-steady"
    UP_MINIMUM = "up-minimum"
    UP_INITIAL = "up-initial"
    UP_MEMORY = "up-memory"
    UP_SUCCESSOR = "up-successor"
    FILL_IN = "fill-in"
    AT_MAXIMUM = "at-maximum"
    DOWN = "down"
    HOLD = "hold"
    KEPT_DATA = "kept-data"
    KEPT_BUSY = "kept-busy"
    GRAPH = "graph"
    STEADY = "steady"


def _at_least(what: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{what} is {value}: give a finite number of at least {least:g}")


@dataclass(frozen=True)
class Policy:
    """The parameters of a group's adaptive policy; names shared with Dask's ``Adaptive`` mean the same here.

    Parameters
    ----------
    interval
        Seconds between two decisions.
    wait_count
        Decisions in a row that must agree before a worker goes. None: 3, and the last few workers stay
        longer where a new one takes long to start. A number is taken literally.
    target_duration
        Seconds in which the work at hand should be done. None: 5, and longer where a worker takes long
        to start. A number is taken literally.
    cool_down
        Seconds for which a surplus is kept after it was needed last. None: as ``wait_count`` and the start
        time say. A number is taken literally, like a ``wait_count``; the longer of the two holds.
    hold
        A surplus of k workers is held for ``hold`` x start time / k.
    hold_cap
        Seconds after which no surplus is held.
    start_share
        Work asked for with new workers lasts at least the start time over this.
    guess
        Worker-seconds of billed start-up that work of unknown duration may cost.
    memory_high, memory_aim
        Shares of the workers' memory: above the first the group grows, to the second.
    drain_max
        Seconds; a worker with a task that runs, or should run, longer is not drained.
    initial_hold
        Seconds for which ``Group.initial`` holds when no work comes.
    unknown_duration
        Seconds that a task counts of which nothing is known.
    bandwidth
        Bytes a second at which a leaving worker's data moves.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    interval: float = 1.0
    wait_count: int | None = None
    target_duration: float | None = None
    cool_down: float | None = None
    hold: float = 2.0
    hold_cap: float = 600.0
    start_share: float = 8.0
    guess: float = 3600.0
    memory_high: float = 0.6
    memory_aim: float = 0.5
    drain_max: float = 60.0
    initial_hold: float = 600.0
    unknown_duration: float = 0.5
    bandwidth: float = 100e6

    def __post_init__(self) -> None:
        for what in ("interval", "start_share", "unknown_duration", "bandwidth"):
            _at_least(what, getattr(self, what), 1e-3)
        for what in ("hold", "hold_cap", "guess", "drain_max", "initial_hold"):
            _at_least(what, getattr(self, what), 0)
        if self.target_duration is not None:
            _at_least("target_duration", self.target_duration, 1e-3)
        for what in ("wait_count", "cool_down"):
            if getattr(self, what) is not None:
                _at_least(what, getattr(self, what), 0)
        if not 0 < self.memory_aim <= self.memory_high <= 1:
            raise ValueError("memory_aim and memory_high are shares: give 0 < memory_aim <= memory_high <= 1")

    @property
    def least_idle(self) -> float:
        """Seconds for which a worker must have been idle before it goes."""
        return (3 if self.wait_count is None else self.wait_count) * self.interval

    @property
    def patience_before_shrinking(self) -> float:
        """Seconds for which a surplus must last before anything goes."""
        return max(self.least_idle, self.cool_down or 0.0)

    @property
    def is_literal(self) -> bool:
        """Whether the user says how long a surplus stays, and a long start time does not lengthen it."""
        return self.wait_count is not None or self.cool_down is not None

    @property
    def remembered(self) -> float:
        """Seconds for which it matters how many workers were needed."""
        return max(self.hold_cap, self.patience_before_shrinking)

    @property
    def keep_duration(self) -> float:
        """Seconds of work a slot that justify keeping it."""
        return 5.0 if self.target_duration is None else self.target_duration


@dataclass(frozen=True)
class Group:
    """A worker group as the policy sees it. Counts are of workers, not of instances.

    Parameters
    ----------
    name
        The group's name.
    maximum, minimum
        Bounds on its workers; rounded to whole instances, the maximum down, the minimum up.
    nthreads, memory_limit, resources
        Of one worker; a memory limit of 0 bytes is no limit.
    workers_per_instance
        How many workers come and go together.
    start_times
        Seconds that the last starts took, from launch to the workers' registration; nine are looked at.
    stated_start
        Seconds that the driver says a start takes, until there are ``start_times``.
    billing
        Whether the wait for a start costs.
    patience
        Seconds of start time after which the next group fills in.
    initial
        Workers to have before any work is there.
    hosts
        The hosts it can start workers on; None if not known beforehand.
    policy
        Its parameters.
    fixed
        Its count is somebody's word: it supplies what it has and what it lacks of its ``maximum``, and nothing
        is decided of it.
    failing
        Its launches fail, so that nobody counts on one: the next group fills in.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    name: str
    maximum: int
    minimum: int = 0
    nthreads: int = 1
    memory_limit: int = 0
    resources: Pairs = ()
    workers_per_instance: int = 1
    start_times: tuple[float, ...] = ()
    stated_start: float = 60.0
    billing: Billing = Billing.FROM_LAUNCH
    patience: float = 60.0
    initial: int = 0
    hosts: frozenset[str] | None = None
    policy: Policy = Policy()
    fixed: bool = False
    failing: bool = False

    def __post_init__(self) -> None:
        for what in ("nthreads", "workers_per_instance"):
            _at_least(what, getattr(self, what), 1)
        for what in ("maximum", "minimum", "initial", "memory_limit", "stated_start", "patience"):
            _at_least(what, getattr(self, what), 0)
        for seconds in self.start_times:
            _at_least("a start time", seconds, 0)
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}: give minimum <= maximum")

    @property
    def ceiling(self) -> int:
        """The most workers in whole instances."""
        return self.maximum - self.maximum % self.workers_per_instance

    def whole(self, workers: int) -> int:
        """Workers rounded up to whole instances, within the ceiling."""
        return min(-(-workers // self.workers_per_instance) * self.workers_per_instance, self.ceiling)


@dataclass(frozen=True)
class PrefixRow:
    """Ready tasks of like duration: how many, their mean and the longest seen running, in seconds."""

    count: int
    mean: float | None
    longest: float | None


@dataclass(frozen=True)
class ClassRow:
    """The ready tasks that share their restrictions.

    Of them ``unserved`` wait because no worker that is there may run them; None from a runtime that does not say.
    """

    ready: int
    executing: int = 0
    rows: tuple[PrefixRow, ...] = ()
    resources: Pairs = ()
    hosts: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    example: str | None = None
    unserved: int | None = None

    @property
    def stuck(self) -> int:
        """Tasks that no worker which is there can run."""
        if self.unserved is not None:
            return min(self.unserved, self.ready)
        return 0 if self.executing else self.ready

    @property
    def key(self) -> str:
        """The restrictions as text, ``any`` without any: what memory knows the class by."""
        parts = [f"{name}={amount:g}" for name, amount in self.resources]
        parts += [f"host {host}" for host in self.hosts] + [f"worker {name}" for name in self.workers]
        return ", ".join(parts) or "any"


@dataclass(frozen=True)
class WorkerRow:
    """A worker as the scheduler sees it. Bytes in bytes, times in seconds, ``idle_since`` by its clock."""

    name: str
    instance: str | None
    status: str = "running"
    processing: int = 0
    long_running: int = 0
    actors: int = 0
    nbytes: int = 0
    unique: int = 0
    limit: int = 0
    idle_since: float | None = None
    elapsed: float = 0.0
    expected: float = 0.0

    @property
    def idle(self) -> bool:
        """Nothing is assigned to it."""
        return not (self.processing or self.long_running)


@dataclass(frozen=True)
class Snapshot:
    """What the scheduler said, at ``t`` by its clock, ``received`` by ours (unix seconds)."""

    t: float
    received: float
    rev: int = 0
    wake: int = 0
    graph_updates: int = 0
    waiting: int = 0
    more_work: bool = False
    classes: tuple[ClassRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    prefixes_left_out: int = 0

    def idle_for(self, row: WorkerRow, now: float) -> float:
        """Seconds that a worker has had nothing to do; 0 if it has something."""
        if not row.idle or row.idle_since is None:
            return 0.0
        return max(0.0, self.t - row.idle_since) + max(0.0, now - self.received)


@dataclass(frozen=True)
class Instance:
    """An instance of a group. Times in unix seconds; ``workers`` are the names it runs or will run.

    ``rotating``: an earlier decision said that it is leaving, for its end is near.
    """

    id: str
    group: str
    state: InstanceState
    launched: float
    started: float | None = None
    expected_end: float | None = None
    workers: tuple[str, ...] = ()
    rotating: bool = False


@dataclass(frozen=True)
class ClassMemory:
    """The past of a class: mean executing slots over each of the windows, and recent peaks of ready tasks."""

    at: float
    means: tuple[float, ...]
    peaks: Staircase = ()


@dataclass(frozen=True)
class GroupMemory:
    """The past of a group: workers needed, since when there is a surplus, how far ``initial`` got."""

    needed: Staircase = ()
    surplus_since: float | None = None
    initial_since: float | None = None
    initial_done: bool = False


@dataclass(frozen=True)
class Memory:
    """All that one decision tells the next; persisted with it."""

    classes: Mapping[str, ClassMemory] = field(default_factory=dict)
    groups: Mapping[str, GroupMemory] = field(default_factory=dict)
    last_word: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The memory as plain data for :func:`json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Memory:
        """Read back what :meth:`to_json` wrote.

        Raises
        ------
        BadMemory
            If it is anything else.
        """
        try:
            last = raw["last_word"]
            return cls(
                classes={key: _class_memory(value) for key, value in raw["classes"].items()},
                groups={key: _group_memory(value) for key, value in raw["groups"].items()},
                last_word=None if last is None else float(last),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadMemory(f"the adaptive memory can't be read: {error!r}") from error


def _class_memory(raw: Mapping[str, Any]) -> ClassMemory:
    return ClassMemory(float(raw["at"]), tuple(float(mean) for mean in raw["means"]), _stairs(raw["peaks"]))


def _group_memory(raw: Mapping[str, Any]) -> GroupMemory:
    def seconds(value: Any) -> float | None:
        return None if value is None else float(value)

    return GroupMemory(
        needed=_stairs(raw["needed"]),
        surplus_since=seconds(raw["surplus_since"]),
        initial_since=seconds(raw["initial_since"]),
        initial_done=bool(raw["initial_done"]),
    )


def _stairs(raw: Any) -> Staircase:
    return tuple((float(t), int(level)) for t, level in raw)


@dataclass(frozen=True)
class GroupDecision:
    """What one group shall do.

    Attributes
    ----------
    target
        Workers that it shall have in the end.
    launch
        Instances to launch.
    cancel, drain
        Ids of pending instances to end, and of running ones to drain and retire.
    reason, code
        Why, in words and as a stable name.
    leaving
        Ids of instances that end before long: they count for nothing any more, and go once others have come.
    """

    target: int
    launch: int = 0
    cancel: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    reason: str = ""
    code: Reason = Reason.STEADY
    leaving: tuple[str, ...] = ()

    @property
    def news(self) -> tuple[int, Reason]:
        """What must have changed for an event to be worth writing."""
        return self.target, self.code


@dataclass(frozen=True)
class Unplaceable:
    """Ready tasks that no group can ever run, as the groups are now."""

    count: int
    restriction: str
    example: str | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """What all groups shall do, the work that nobody can do, and the memory for the next decision.

    ``unplaceable`` is None where the scheduler did not say what waits.
    """

    groups: Mapping[str, GroupDecision]
    unplaceable: tuple[Unplaceable, ...] | None
    memory: Memory
