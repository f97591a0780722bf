"""What users ask for. The same models read a request, a profile of the configuration and a row of the store."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from .names import check_name, check_variable
from .quantity import Memory, Seconds

MOST_WORKERS = 100_000
"""No group may have more workers than this, whatever a profile says."""

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


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        check_variable(name)
        if name.startswith("DASKD_"):
            raise ValueError(f"{name!r} is the daemon's own: variables that begin with DASKD_ can't be set")
        if "\0" in value or len(value) > 131_072:
            raise ValueError(f"the value of {name!r} holds a NUL or is longer than 128 KiB")
    return variables


Environment = Annotated[dict[str, str], Field(max_length=1000), AfterValidator(_environment)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AdaptivePolicy(_Frozen):
    """How the number of workers follows the work; None is "the daemon's default" (`docs/adaptive.md`)."""

    minimum: int = Field(default=0, ge=0, le=MOST_WORKERS)
    maximum: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    interval: Seconds | None = Field(default=None, ge=0.1, le=3600)
    wait_count: int | None = Field(default=None, ge=0, le=10_000)
    target_duration: Seconds | None = Field(default=None, gt=0, le=86_400)
    initial: int | None = Field(default=None, ge=0, le=MOST_WORKERS)
    group: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> AdaptivePolicy:
        if self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is more than maximum {self.maximum}")
        return self


class HeldWorkPolicy(_Frozen):
    """How long (seconds), and up to which share of the workers' memory, a lost client's work is kept."""

    keep: Seconds | None = Field(default=None, le=365 * 86_400)
    memory_share: float | None = Field(default=None, ge=0, le=1)


class WorkerGroupSpec(_Frozen):
    """Workers of one kind.

    Attributes
    ----------
    n_workers
        How many at first.
    nthreads
        Threads of each.
    memory_limit
        Bytes of each (0: no limit), or "auto".
    workers_per_node
        How many share one instance.
    resources
        Dask's abstract resources of each.
    death_timeout
        Seconds after which a worker without a scheduler ends.
    options
        What the group's driver alone understands.
    """

    name: Name = "default"
    driver: str = Field(default="local", max_length=63)
    n_workers: int = Field(default=0, ge=0, le=MOST_WORKERS)
    nthreads: int = Field(default=1, ge=1, le=4096)
    memory_limit: Memory = "auto"
    workers_per_node: int = Field(default=1, ge=1, le=256)
    resources: dict[str, float] = Field(default_factory=dict, max_length=100)
    environment: Environment = Field(default_factory=dict)
    local_directory: Path = ""
    death_timeout: Seconds = Field(default=60.0, ge=1, le=86_400)
    options: dict[str, Any] = Field(default_factory=dict, max_length=100)

    @field_validator("resources")
    @classmethod
    def _amounts(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            _no_control_characters(name)
            if not name or len(name) > 100 or not math.isfinite(amount) or amount < 0:
                raise ValueError(f"{name!r}: {amount} is no amount of a resource: a name and a number from 0 up")
        return resources


class ClusterSpec(_Frozen):
    """A cluster as asked for, after profile and defaults were laid under it."""

    profile: str = Field(default="", max_length=63)
    groups: tuple[WorkerGroupSpec, ...] = Field(default=(WorkerGroupSpec(),), min_length=1, max_length=50)
    python: Text = ""
    cwd: Path = ""
    import_path: tuple[Path, ...] = Field(default=(), max_length=200)
    environment: Environment = Field(default_factory=dict)
    adaptive: AdaptivePolicy | None = None
    idle_timeout: Seconds | None = Field(default=None, le=365 * 86_400)
    held_work: HeldWorkPolicy = HeldWorkPolicy()
    dashboard: bool = True

    @model_validator(mode="after")
    def _groups_agree(self) -> ClusterSpec:
        names = [group.name for group in self.groups]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two groups are called {twice[0]!r}: every group of a cluster has a name of its own")
        if self.adaptive and self.adaptive.group and self.adaptive.group not in names:
            raise ValueError(f"adaptive names the group {self.adaptive.group!r}; there are {', '.join(names)}")
        return self

    def group(self, name: str) -> WorkerGroupSpec | None:
        """The group of that name; the first for an empty one; None if there is none."""
        if not name:
            return self.groups[0]
        return next((group for group in self.groups if group.name == name), None)
