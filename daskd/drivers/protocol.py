"""The driver boundary: what stands between the core and a system that runs things.

A driver is a module with one class behind the `Driver` protocol, found by the entry point group `daskd.drivers`.
Opened as an identity it is a `Site`. `docs/drivers/README.md` says how to write one.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from daskd.model.cluster import End, Handle, Role, State
from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import Preview

from .streams import Stream


class Result(str, enum.Enum):
    """A driver's answer to one launch or one termination."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNSURE = "unsure"
    GONE = "gone"


class Wait(str, enum.Enum):
    """What an instance that is queued or starting waits for.

    `HOPELESS`: it will never run as it was asked for. `HELD` and `LIMIT`: till somebody, or something of the owner's,
    makes way.
    """

    RESOURCES = "resources"
    PRIORITY = "priority"
    LIMIT = "limit"
    HELD = "held"
    LATER = "later"
    PREPARING = "preparing"
    HOPELESS = "hopeless"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a site can do; the core reads this and never asks for types.

    Attributes
    ----------
    repeat_safe
        Launching the same id again does nothing if it runs or ran.
    settle_s
        Seconds after a lost answer within which the thing may still turn up.
    absence_is_end
        What a complete listing lacks has ended.
    poll_min_s, poll_quiet_s
        Seconds between two observations while something is young or ending, and otherwise.
    poll_growth
        By which factor the pause grows, up to `poll_quiet_s`, with each observation of young things that shows no
        news: jobs may wait for days.
    start_s
        Stated start time of an instance in seconds, until some were measured.
    live_logs
        Logs can be read while the instance runs.
    needs_address
        Nodes are told the scheduler's address at their launch: they can't read its report.
    """

    repeat_safe: bool
    settle_s: float
    absence_is_end: bool
    poll_min_s: float
    poll_quiet_s: float
    start_s: float
    live_logs: bool = True
    poll_growth: float = 1.0
    needs_address: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an identity can use a system, and if not, why and what to do."""

    usable: bool
    words: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """What the instances of one cluster need where they run.

    Attributes
    ----------
    secret
        File name to bytes; readable by the owner alone.
    """

    cluster: str
    secret: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance to be launched: its id, what it holds, and under which names."""

    id: str
    ordinal: int
    workers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances of one kind, launched together.

    Attributes
    ----------
    group
        The worker group; None for a scheduler.
    asked
        What is launched, as its driver understands it: the worker group, or a scheduler's driver options as one.
    members
        In the order of the handles.
    scheduler
        The instance id of the cluster's scheduler, for nodes that learn its address from its report.
    address
        The scheduler's address: for nodes, where it is known; for a scheduler, the one it had before.
    runtime
        Times and bounds that the runtime is told.
    dashboard_prefix
        The path below which the daemon serves the dashboard, from a unix socket that it bound; empty: it does not.
    beside
        Of each node of the cluster that the same driver launched and that has not ended: how many workers, and the
        memory limit of one in bytes, 0 for none.
    """

    cluster: str
    cluster_name: str
    role: Role
    spec: ClusterSpec
    group: WorkerGroupSpec | None
    members: tuple[Member, ...]
    scheduler: str
    address: str
    runtime: RuntimeSettings
    dashboard_prefix: str = ""
    beside: tuple[tuple[int, int], ...] = ()

    @property
    def asked(self) -> WorkerGroupSpec:
        return self.group or self.spec.scheduler_group


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What the daemon's configuration says to every runtime; times in seconds, sizes in bytes.

    `contact_host`: name or address by which other machines reach this one; empty: to be found out. `journal_bytes`: the
    size at which a scheduler gives the journal of its work up.
    """

    grace: float
    join_timeout: float
    orphan_timeout: float
    held_seconds: float
    held_memory_share: float
    log_max_bytes: int
    log_files: int
    contact_host: str = ""
    journal_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one handle.

    Attributes
    ----------
    lasting
        The same request will be refused again.
    full
        It was refused for want of room, of which there may be some later: however often, the cluster has not failed.
    """

    handle: Handle
    result: Result
    words: str = ""
    lasting: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How many more instances a site would have wait for their start, and in words what allows no more."""

    more: int
    words: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a runtime says of itself; the owner's word, validated.

    Attributes
    ----------
    link
        Where the link of a scheduler that was placed listens ("tls://10.0.0.7:43210"). It is proved by TLS alone.
    """

    phase: str
    address: str = ""
    dashboard: str = ""
    failure: str = ""
    pid: int | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a system shows of one instance; times in unix seconds of the daemon's clock.

    Attributes
    ----------
    goodbye
        Who told a scheduler to end, if somebody did.
    wait, waiting
        What it waits for, and since when.
    expected_end
        When its time is over.
    """

    handle: Handle
    state: State
    words: str = ""
    end: End | None = None
    host: str = ""
    pid: int | None = None
    report: Report | None = None
    started: float | None = None
    ended: float | None = None
    goodbye: str = ""
    wait: Wait | None = None
    waiting: float | None = None
    expected_end: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One listing. `complete` is False when any part of the question failed; it says nothing of what was launched
    after `begun` (unix seconds). `strays` bear our mark and were not asked about."""

    begun: float
    complete: bool
    seen: tuple[Observation, ...]
    strays: tuple[Handle, ...] = ()
    staged: frozenset[str] = frozenset()
    words: str = ""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Lines of one instance's log: (unix seconds, text); `cursor` goes on after them."""

    lines: tuple[tuple[float, str], ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the daemon that opens a site lives.

    Attributes
    ----------
    state_id
        The mark of all that this daemon launches.
    state_dir
        Its durable folder; clusters' folders lie in `clusters/`.
    runtime_dir
        Its folder for sockets; gone after a reboot.
    units
        What runs on this machine is to have systemd units of its own, for the daemon is one itself.
    settings
        The administrator's `[drivers.NAME]`, an instance of `Driver.settings`; None: all defaults.
    grace
        Seconds that a node is given to end in.
    """

    state_id: str
    state_dir: Path
    runtime_dir: Path
    units: bool = False
    settings: BaseModel | None = None
    grace: float = 10.0


class Site(Protocol):
    """A system as one identity sees and uses it.

    Methods may run concurrently, are cut off by the core's time-outs, may be cancelled, and never block the loop.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this site can do."""

    async def check(self) -> Health:
        """Whether this identity can use this system, and if not, the mend."""

    async def stage(self, payload: Payload) -> None:
        """Put what a cluster's instances need where they find it. A repeat does nothing."""

    def room(self, group: WorkerGroupSpec, waiting: int) -> Room | None:
        """How many more instances of a group may be launched now, `waiting` being launched that do not run yet; None:
        as many as are asked for. `prepare` takes the room. Asks the system nothing."""

    async def prepare(self, batch: Batch) -> list[Handle]:
        """Decide all that it takes to find or end each member later. Changes nothing; the core commits the handles."""

    async def launch(self, batch: Batch, handles: Sequence[Handle]) -> list[Outcome]:
        """Submit, once, without retries inside; one outcome a member. An exception is "unsure" for every member."""

    async def observe(self, known: Sequence[Handle], deep: bool = False) -> Snapshot:
        """What the system shows of `known`; with `deep`, strays and what is staged too."""

    async def terminate(self, handles: Sequence[Handle], force: bool = False) -> list[Outcome]:
        """Ask for the end; never wait. A repeat is harmless. `force` skips the grace."""

    def logs(self, handle: Handle, cursor: str, since: float | None) -> AsyncIterator[LogChunk]:
        """What the log holds after `cursor` ("" is the beginning) now, and no more."""

    def link_path(self, handle: Handle) -> Path | None:
        """The unix socket of a scheduler's link on this machine; None where there is none."""

    def dashboard_path(self, handle: Handle) -> Path | None:
        """The unix socket of the dashboard that the daemon serves for a scheduler; None where there is none."""

    async def dial(self, handle: Handle, host: str, port: int) -> Stream:
        """A byte stream to a port of the machine where an instance runs, as that machine calls itself.

        Asked only of sites that place schedulers, whose links it carries; who is at its end is proved by TLS within.

        Raises
        ------
        OSError
            When there is no way there; the text says why.
        """

    async def unstage(self, cluster: str) -> None:
        """Remove what was staged for a cluster: keys, code, scratch. Nothing of it runs any more. Logs stay."""

    async def forget(self, cluster: str) -> None:
        """Remove all that is left of an ended cluster, logs included."""

    async def close(self) -> None:
        """Let go of connections; ends nothing there."""


class Driver(Protocol):
    """One system; no connection, no state.

    Attributes
    ----------
    options
        The model of what a group may ask of it.
    settings
        The model of the administrator's `[drivers.NAME]`.
    elsewhere
        Whether its instances may run on other machines than the daemon's.
    places_schedulers
        Whether it launches schedulers of the placement "driver". To it such a one is a group of one
        (`ClusterSpec.scheduler_group`), also for `validate`.
    """

    name: str
    description: str
    options: type[BaseModel]
    settings: type[BaseModel]
    elsewhere: bool
    places_schedulers: bool

    def validate(self, group: WorkerGroupSpec, who: Identity) -> list[Problem]:
        """What is wrong with a group, in the user's words, each with its field. Asks the system nothing."""

    def complete(self, group: WorkerGroupSpec) -> WorkerGroupSpec:
        """The group with what it leaves to the system ("auto" memory, `nodes` of an instance) decided."""

    def upgrade(self, handle: Handle) -> Handle:
        """A handle written by an older release, as this one writes it. Pure."""

    def preview(
        self, spec: ClusterSpec, group: WorkerGroupSpec, who: Identity, surroundings: Surroundings
    ) -> Preview | None:
        """What launching a group would be, for people to read, nothing secret in it; None: nothing to show. Pure."""

    async def open(self, who: Identity, surroundings: Surroundings) -> Site:
        """The system as that identity uses it. Starts nothing there."""
