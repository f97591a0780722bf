"""What users ask for. The same models read a request, a profile of the configuration and a row of the store."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from . import reserved
from .names import check_name, check_variable
from .quantity import Amount, Memory, Seconds

MOST_WORKERS = 100_000
"""No group may have more workers than this, whatever a profile says."""

MOST_GROUPS = 50
"""No cluster may have more worker groups than this."""

MOST_NODES = 256
"""Of one instance."""

MOST_CORES = MOST_WORKERS * 4096
"""The threads of so many of the largest workers."""

WARNING = 600.0
"""Seconds before the end of its lifetime at which a cluster is warned of, or a tenth of a lifetime that is short."""

Name = Annotated[str, AfterValidator(check_name)]


def _no_control_characters(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError(f"{text!r} holds a control character")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_no_control_characters)]
"""A path or an option: one line, at most 4,096 characters."""


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError(f"{path!r} is not absolute: write the whole path, beginning with /")
    return path


Path = Annotated[Text, AfterValidator(_absolute)]


_CLASS_NAME = re.compile(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*", re.ASCII)


def _class_name(name: str) -> str:
    if name and not _CLASS_NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no class: write its module and name, such as 'distributed.Worker'")
    return name


ClassName = Annotated[Text, AfterValidator(_class_name)]


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        check_variable(name)
        if name.startswith("DASKD_"):
            raise ValueError(f"{name!r} is the daemon's own: variables that begin with DASKD_ can't be set")
        if "\0" in value or len(value) > 131_072:
            raise ValueError(f"the value of {name!r} holds a NUL or is longer than 128 KiB")
    return variables


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _less(words: Mapping[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name in words:
                raise ValueError(f"{name!r} can't be an option: {words[name]}")
            if not name.isidentifier() or name.startswith("_"):
                raise ValueError(f"{name[:80]!r} is no keyword argument: write its name, as in Python")
        if not _is_finite(options):
            raise ValueError("they hold a number that is infinite or none: write finite numbers")
        return options

    return check


Options = Annotated[dict[str, Any], Field(max_length=100)]
WorkerOptions = Annotated[Options, AfterValidator(_less(reserved.OF_WORKERS))]
SchedulerOptions = Annotated[Options, AfterValidator(_less(reserved.OF_SCHEDULER))]
Preload = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(max_length=20)]
Prologue = Annotated[tuple[Text, ...], Field(max_length=200)]
Environment = Annotated[dict[str, str], Field(max_length=1000), AfterValidator(_environment)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AdaptivePolicy(_Frozen):
    """How the number of workers follows the work; None is "the daemon's default" (`docs/adaptive.md`).

    Attributes
    ----------
    minimum, maximum, initial
        Workers.
    minimum_cores, maximum_cores
        Threads of workers.
    minimum_memory, maximum_memory
        Memory limits of workers together, in bytes.
    interval, target_duration, cool_down
        Seconds.
    """

    minimum: int = Field(default=0, ge=0, le=MOST_WORKERS)
    maximum: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    minimum_cores: int | None = Field(default=None, ge=0, le=MOST_CORES)
    maximum_cores: int | None = Field(default=None, ge=0, le=MOST_CORES)
    minimum_memory: Amount | None = None
    maximum_memory: Amount | None = None
    interval: Seconds | None = Field(default=None, ge=0.1, le=3600)
    wait_count: int | None = Field(default=None, ge=0, le=10_000)
    target_duration: Seconds | None = Field(default=None, gt=0, le=86_400)
    cool_down: Seconds | None = Field(default=None, ge=0, le=86_400)
    initial: int | None = Field(default=None, ge=0, le=MOST_WORKERS)

    @model_validator(mode="after")
    def _in_order(self) -> AdaptivePolicy:
        for unit in ("", "_cores", "_memory"):
            least, most = getattr(self, f"minimum{unit}"), getattr(self, f"maximum{unit}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"minimum{unit} {least} is more than maximum{unit} {most}")
        return self


class HeldWorkPolicy(_Frozen):
    """How long (seconds), and up to which share of the workers' memory, a lost client's work is kept."""

    keep: Seconds | None = Field(default=None, le=365 * 86_400)
    memory_share: float | None = Field(default=None, ge=0, le=1)


class Placement(str, enum.Enum):
    """Where a cluster's scheduler runs: in a process beside the daemon, in the daemon, or where a driver puts it.

    A driver's is a job of a batch system, or a process of another host.
    """

    PROCESS = "process"
    EMBEDDED = "embedded"
    DRIVER = "driver"


class OnIdle(str, enum.Enum):
    """What happens to a cluster that was idle for its time-out."""

    DELETE = "delete"
    SCALE_TO_ZERO = "scale_to_zero"


class OnSchedulerLoss(str, enum.Enum):
    """What follows when a cluster's scheduler ends unasked: it goes on, begins empty, or the cluster fails."""

    RESUME = "resume"
    RESTART = "restart"
    FAIL = "fail"


class SchedulerSpec(_Frozen):
    """The scheduler.

    Attributes
    ----------
    preload
        What it loads before it begins.
    options
        More keyword arguments of its class.
    prologue
        Lines of shell that run before it.
    network
        Whether other machines can reach it; None: not decided yet, as in a request.
    driver
        Which driver launches one of the placement `DRIVER`; empty: not decided yet, as in a request.
    driver_options
        What that driver alone understands: of its job, its host.
    """

    placement: Placement = Placement.PROCESS
    preload: Preload = ()
    options: SchedulerOptions = Field(default_factory=dict)
    prologue: Prologue = ()
    network: bool | None = None
    driver: str = Field(default="", max_length=63)
    driver_options: Options = Field(default_factory=dict)

    @property
    def is_placed(self) -> bool:
        """Whether a driver launches it, away from the daemon."""
        return self.placement is Placement.DRIVER


class WorkerGroupSpec(_Frozen):
    """Workers of one kind.

    Attributes
    ----------
    n_workers
        How many; with an adaptive policy, where it begins.
    adaptive
        How their number follows the work, as given; None: it does not.
    nthreads
        Threads of each.
    memory_limit
        Bytes of each (0: no limit), or "auto".
    workers_per_node
        How many share one node.
    nodes
        How many nodes an instance holds. Its driver says so, by an option of its own; nobody else can.
    resources
        Dask's abstract resources of each.
    death_timeout
        Seconds after which a worker without a scheduler ends.
    options
        What the group's driver alone understands.
    python, cwd
        Empty: the cluster's.
    preload
        What each worker loads before it begins.
    worker_class, worker_options
        The class of the workers, and more keyword arguments of it.
    prologue
        Lines of shell that run before each node.
    """

    name: Name = "default"
    driver: str = Field(default="local", max_length=63)
    n_workers: int = Field(default=0, ge=0, le=MOST_WORKERS)
    nthreads: int = Field(default=1, ge=1, le=4096)
    memory_limit: Memory = "auto"
    workers_per_node: int = Field(default=1, ge=1, le=256)
    nodes: int = Field(default=1, ge=1, le=MOST_NODES)
    resources: dict[str, float] = Field(default_factory=dict, max_length=100)
    environment: Environment = Field(default_factory=dict)
    local_directory: Path = ""
    death_timeout: Seconds = Field(default=60.0, ge=1, le=86_400)
    options: Options = Field(default_factory=dict)
    adaptive: AdaptivePolicy | None = None
    python: Text = ""
    cwd: Path = ""
    preload: Preload = ()
    worker_class: ClassName = ""
    worker_options: WorkerOptions = Field(default_factory=dict)
    prologue: Prologue = ()

    @property
    def workers_per_instance(self) -> int:
        """How many are launched, retired and ended as one."""
        return self.nodes * self.workers_per_node

    def instances_for(self, workers: int) -> int:
        """How many it takes for so many workers."""
        return -(-workers // self.workers_per_instance)

    def launched_for(self, workers: int) -> int:
        """How many workers there are when so many are wanted: those of whole instances."""
        return self.instances_for(workers) * self.workers_per_instance

    @field_validator("resources")
    @classmethod
    def _amounts(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            _no_control_characters(name)
            if not name or len(name) > 100 or not math.isfinite(amount) or amount < 0:
                raise ValueError(f"{name!r}: {amount} is no amount of a resource: a name and a number from 0 up")
        return resources


class ClusterSpec(_Frozen):
    """A cluster as wanted, after profile and defaults were laid under it.

    Attributes
    ----------
    idle_timeout, max_lifetime
        Seconds after which `on_idle` happens, or it ends; None: never.
    lifetime_warning
        Seconds before the end of its lifetime at which it is told; None: ten minutes, at most a tenth of it.
    """

    profile: str = Field(default="", max_length=63)
    groups: tuple[WorkerGroupSpec, ...] = Field(default=(WorkerGroupSpec(),), min_length=1, max_length=MOST_GROUPS)
    python: Text = ""
    cwd: Path = ""
    import_path: tuple[Path, ...] = Field(default=(), max_length=200)
    environment: Environment = Field(default_factory=dict)
    scheduler: SchedulerSpec = SchedulerSpec()
    idle_timeout: Seconds | None = Field(default=None, le=365 * 86_400)
    on_idle: OnIdle = OnIdle.DELETE
    on_scheduler_loss: OnSchedulerLoss = OnSchedulerLoss.RESUME
    max_lifetime: Seconds | None = Field(default=None, ge=1, le=10 * 365 * 86_400)
    lifetime_warning: Seconds | None = Field(default=None, ge=0, le=365 * 86_400)
    held_work: HeldWorkPolicy = HeldWorkPolicy()
    dashboard: bool = True

    @model_validator(mode="after")
    def _groups_agree(self) -> ClusterSpec:
        names = [group.name for group in self.groups]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two groups are called {twice[0]!r}: every group of a cluster has a name of its own")
        return self

    @property
    def warning(self) -> float:
        """How long before the end of its lifetime it is told, in seconds; 0: it is not."""
        if self.max_lifetime is None:
            return 0.0
        return min(WARNING, self.max_lifetime / 10) if self.lifetime_warning is None else self.lifetime_warning

    @property
    def scheduler_group(self) -> WorkerGroupSpec:
        """The scheduler as what it is to the driver that launches it: a group of one, without workers."""
        scheduler = self.scheduler
        return WorkerGroupSpec(
            name="scheduler",
            driver=scheduler.driver or self.groups[0].driver,
            memory_limit=0,
            options=scheduler.driver_options,
            prologue=scheduler.prologue,
        )

    def group(self, name: str) -> WorkerGroupSpec | None:
        """The group of that name; the first for an empty one; None if there is none."""
        if not name:
            return self.groups[0]
        return next((group for group in self.groups if group.name == name), None)
