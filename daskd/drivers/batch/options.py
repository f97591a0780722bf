"""What a worker group, and the administrator, may say of jobs: dask-jobqueue's names where there are such."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from daskd.drivers.scheduler_spec import PortRange, port_range
from daskd.drivers.ssh.options import LoginHost, one_host
from daskd.model.quantity import Amount, parse_seconds
from daskd.model.spec import MOST_NODES, Path, Text, WorkerGroupSpec

_CLOCK = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<hours>\d{1,4}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,49}", re.ASCII)


def _walltime(value: Any) -> float:
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        days, hours, minutes, seconds = (int(match[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        return float(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
    try:
        return parse_seconds(value)
    except ValueError:
        raise ValueError(
            f'{value!r} is no walltime: write "HH:MM:SS", "D-HH:MM:SS", or a duration such as "30 min" or "12h"'
        ) from None


def _folder(path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise ValueError(f"{path!r} is not absolute: write the whole path, beginning with / or ~/")
    return path


def _prefix(name: str) -> str:
    if not _PREFIX.fullmatch(name):
        raise ValueError(f"{name!r} can't begin a job's name: a letter, then letters, digits, _ . -, at most 50")
    return name


def _shebang(line: str) -> str:
    if not line.startswith("#!/"):
        raise ValueError(f'{line!r} names no shell: write such as "#!/bin/bash"')
    return line


Walltime = Annotated[float, BeforeValidator(_walltime)]
Folder = Annotated[Text, AfterValidator(_folder)]
Lines = Annotated[tuple[Text, ...], Field(max_length=100)]


def one_name(given: Any, names: Mapping[str, str]) -> Any:
    """What was given, where an option has two names by both of them.

    Parameters
    ----------
    names
        The other name of an option, and the one that daskd's drivers have for it.

    Raises
    ------
    ValueError
        When both were given, and differ.
    """
    if not isinstance(given, Mapping):
        return given
    both = dict(given)
    for other, name in names.items():
        if both.get(other) is None:
            continue
        if both.get(name) is not None and both[name] != both[other]:
            raise ValueError(f"`{other}` and `{name}` are one option: say it once")
        both[name] = both[other]
    return both


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchOptions(_Frozen):
    """What a worker group may ask of a batch system."""

    queue: Text | None = Field(default=None, min_length=1, description="The queue, or partition.")
    account: Text | None = Field(
        default=None, min_length=1, description="The account, or project, that the jobs are charged to."
    )
    walltime: Walltime | None = Field(
        default=None,
        ge=1,
        le=366 * 86_400,
        description='How long a job may run: "HH:MM:SS", "D-HH:MM:SS" or a duration; by default the queue\'s own.',
    )
    cores: int | None = Field(
        default=None, ge=1, le=65_536, description="Cores of a node of a job; by default the threads of its workers."
    )
    memory: Amount | None = Field(
        default=None, description="Memory of a node of a job; by default the limits of its workers together."
    )
    nodes_per_job: int = Field(
        default=1, ge=1, le=MOST_NODES, description="Nodes of a job, each with `workers_per_node` workers."
    )
    reservation: Text | None = Field(default=None, min_length=1, description="The reservation to run in.")
    interface: Text | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="The network interface at which the workers listen; by default the one towards the scheduler. A "
        "scheduler's: by default all, and it says to be at the one towards the daemon.",
    )
    job_name: Annotated[str, AfterValidator(_prefix)] | None = Field(
        default=None, description="What the jobs' names begin with."
    )
    job_extra_directives: Lines = Field(
        default=(), description='More arguments for the script\'s header, such as "--exclusive".'
    )
    job_directives_skip: Lines = Field(
        default=(), description="Lines of the header that hold one of these texts are left out."
    )
    log_directory: Folder | None = Field(
        default=None,
        description="The folder for logs and for what the nodes need, which login and compute nodes share: ~/.daskd.",
    )
    port_range: PortRange | None = port_range()
    max_queued: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="The most jobs of the group that may wait in the queue; more are submitted as these start.",
    )
    shebang: Annotated[Text, AfterValidator(_shebang)] = Field(
        default="#!/bin/bash", description="The first line of the script: a POSIX shell."
    )

    def cores_of(self, group: WorkerGroupSpec) -> int:
        """Cores of one node of a job."""
        return self.cores or group.nthreads * group.workers_per_node

    def memory_of(self, group: WorkerGroupSpec) -> int:
        """Bytes of one node of a job; 0: the queue's own."""
        if self.memory is not None:
            return self.memory
        return 0 if group.memory_limit == "auto" else group.memory_limit * group.workers_per_node


class BatchSettings(_Frozen):
    """The administrator's `[drivers.NAME]`."""

    bin: Path = Field(default="", description="The folder of the system's commands; by default the search path.")
    per_minute: int = Field(default=120, ge=1, le=6000, description="The most commands within a minute, for each user.")
    poll: float = Field(default=10.0, ge=1, le=600, description="Seconds between two listings while nothing changes.")
    poll_min: float = Field(
        default=1.0, ge=0.1, le=600, description="Seconds between two listings when something has just changed."
    )
    array_max: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="The most jobs that are submitted as one array; the system's own limit must not be lower.",
    )
    max_queued: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="The most jobs of one user that may wait in the queue; more are submitted as these start.",
    )
    timeout: float = Field(default=30.0, ge=1, le=50, description="Seconds after which a command is given up.")
    log_directory: Folder = Field(default="~/.daskd", description="As the option, for those who do not say.")
    login_host: Annotated[LoginHost, BeforeValidator(one_host)] | None = Field(
        default=None,
        description="The host on which the commands are run, reached by SSH: [USER@]HOST[:PORT], or a table as the "
        "SSH driver's hosts; by default the daemon's own.",
    )
