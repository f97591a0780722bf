"""What differs from batch system to batch system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from daskd.drivers.protocol import Wait
from daskd.model.cluster import End, State
from daskd.model.spec import WorkerGroupSpec

from .options import BatchOptions
from .runner import Done

REST = -1


class Unreadable(Exception):
    """What a command wrote is no answer to what it was asked; the text says what it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One job as its system lists it.

    Attributes
    ----------
    name
        As it was submitted.
    index
        Its place in the array; `REST`: all that are not listed apart.
    job
        The system's own id, by which it can be ended.
    wait
        What it waits for, while it is queued.
    end
        How it ended.
    host
        Where it runs or ran.
    used, left
        Seconds since it started, and until its time is over; None: not told.
    started, over
        The same as moments, Unix seconds by the system's clock, for systems that tell no durations.
    """

    name: str
    index: int
    job: str
    state: State
    words: str = ""
    wait: Wait | None = None
    end: End | None = None
    host: str = ""
    used: float | None = None
    left: float | None = None
    started: float | None = None
    over: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """It was taken, under that id."""

    job: str


@dataclass(frozen=True, slots=True)
class Declined:
    """It was surely not taken; `lasting`: the same request will be declined again, else there is no room now."""

    words: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that are submitted together.

    Attributes
    ----------
    name
        Of all of them.
    ids
        The instance of each, by its place from 0 on.
    output
        The folder for what they print, and for files that they need.
    grace
        Seconds that a node is given to end in.
    """

    name: str
    ids: tuple[str, ...]
    output: str
    grace: float


@dataclass(frozen=True, slots=True)
class Script:
    """The script of such jobs, in its parts; the header's lines are of `directives`."""

    shebang: str
    header: tuple[str, ...]
    body: str

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join([self.shebang, *self.header, "", self.body])


@dataclass(frozen=True, slots=True)
class Handed:
    """How jobs come to their system.

    Attributes
    ----------
    argv, stdin
        The command that submits them, and what that reads.
    files
        What it needs beside that, by name in the folder for what jobs print: written first, for their owner alone.
    """

    argv: list[str]
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


class System(Protocol):
    """One batch system. All of it is pure: commands to be run, and what their answers mean.

    Attributes
    ----------
    name
        The driver's.
    index_variable
        The shell's expression for a job's place in its array, from 0 on.
    first_index
        What the system counts an array's jobs from.
    private_script
        Nobody but its owner can read a script that was submitted. Where others can, what holds secrets stays in a
        file of the owner's that the script reads.
    keeps_output
        It puts what jobs print where `submit` told it to, as NAME.INDEX.out. Where it does not, the script does.
    rank_variable
        The variable that tells a process which `spread` started the place of its node in the job, from 0 on. Empty:
        jobs of this system have one node.
    """

    name: str
    index_variable: str
    first_index: int = 0
    private_script: bool = True
    keeps_output: bool = True
    rank_variable: str = ""

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines."""

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """The command that takes a script on its standard input; `output` is the folder for what jobs print."""

    def handed(self, script: Script, jobs: Jobs) -> Handed:
        """How it gets them: by `submit`, with the script on standard input, where its commands have no other way."""
        return Handed(self.submit(jobs.name, len(jobs.ids), jobs.output), script.text)

    def spread(self, nodes: int, cores: int) -> str:
        """The command, in the shell's words, that starts what follows it on each node of a job, with its input.

        It stays until all of them have ended. One that ends leaves the others alone: what they hold can still move.

        Parameters
        ----------
        nodes, cores
            How many the job has, and how many each of them.
        """
        return ""

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What became of it; None: nobody knows."""

    def listing(self, user: str) -> list[str]:
        """The command that lists all of a user's jobs, ended ones as far as they are remembered."""

    def listed(self, done: Done) -> list[Row]:
        """What it lists.

        Raises
        ------
        Unreadable
            When it is no whole listing.
        """

    def explanation(self, rows: Sequence[Row]) -> list[str] | None:
        """The command that tells what these wait for, where the listing does not; None: there is nothing to ask."""
        return None

    def explained(self, rows: Sequence[Row], done: Done) -> list[Row]:
        """The same rows, with what it tells; as they were where it tells nothing."""
        return list(rows)

    def clear(self, rows: Sequence[Row]) -> list[str] | None:
        """The command that takes ended jobs out of the listing, where they stay; None: they leave it themselves."""
        return None

    def history(self, names: Sequence[str], since: float) -> list[str] | None:
        """The command that tells of jobs no longer listed, submitted since so many seconds ago; None: there is none."""

    def remembered(self, done: Done) -> list[Row]:
        """What it tells.

        Raises
        ------
        Unreadable
            When it is no answer.
        """

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """The command that has jobs end in peace, by id and index: TERM to the supervisors of those that run."""

    def ask_ranks_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """The same for jobs of several nodes: TERM to the supervisors on all of them."""
        return self.ask_to_end(elements)

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """The command that ends jobs, whatever they do, and leaves others of their arrays alone."""

    def cancelled(self, done: Done) -> str:
        """Why a command that ends did not work; empty when it did, or there was nothing to end."""
