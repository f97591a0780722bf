"""PBS and Torque: their commands, and what they answer. Pure; written from documentation and others' captures.

Both write what they know of a job as "Job Id: ID", and below it lines of "name = value" that may be wrapped. This form
is read rather than PBS' JSON, which some releases write wrong, and Torque's XML: all releases of both have it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field, field_validator

from daskd.model.cluster import Cause, State
from daskd.model.spec import Text, WorkerGroupSpec

from .elements import batch_of
from .options import BatchOptions
from .pbs_words import LASTING, PASSING, PBS_CODES, TORQUE_CODES, end_of, state_of, told, wait_of
from .runner import Done
from .system import Declined, Row, Submitted, System, Unreadable

_JOB = re.compile(r"\d{1,12}(\[\d*\])?(\.[\w.-]+)?", re.ASCII)
_INDEX = re.compile(r"\d+\[(\d{1,9})\]", re.ASCII)
_ARRAY = re.compile(r"\d+\[\]", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+)", re.ASCII)
_GONE = ("unknown job id", "job has finished", "invalid state for job", "invalid job array sequence")
_NO_HISTORY = ("job history", "job_history_enable")


class PbsOptions(BatchOptions):
    """What a worker group may ask of PBS, or of Torque."""

    resource_spec: Text | None = Field(
        default=None, min_length=1, description="What a job is, in the system's words, in place of cores and memory."
    )

    @field_validator("job_name")
    @classmethod
    def _none(cls, name: str | None) -> str | None:
        if name is not None:
            raise ValueError("a job's name has 15 characters at some sites, and the daemon's own 14: leave it out")
        return name


class Pbs(System):
    """PBS' part of the batch drivers: OpenPBS, PBS Professional."""

    name = "pbs"
    index_variable = '"${PBS_ARRAY_INDEX:-0}"'
    private_script = False
    keeps_output = False
    codes: Mapping[int, Cause] = PBS_CODES

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines: what the user asks for."""
        assert isinstance(options, PbsOptions)
        asked = [
            ("-S", options.shebang[2:].split()[0]),
            # a reservation is a queue of its own
            ("-q", options.reservation or options.queue),
            ("-A", options.account),
            ("-l", options.resource_spec or self.resources(options.cores_of(group), options.memory_of(group))),
            ("-l", None if options.walltime is None else f"walltime={clock(options.walltime)}"),
        ]
        lines = [f"{name} {value}" for name, value in asked if value is not None]
        return [f"#PBS {line}" for line in (*lines, *options.job_extra_directives)]

    def resources(self, cores: int, memory: int) -> str:
        """A job of one host, in the system's words."""
        return f"select=1:ncpus={cores}" + (f":mem={_megabytes(memory)}" if memory else "")

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all; an array has two members at least, and can be run again, which its supervisor refuses."""
        several = ["-J", f"0-{count - 1}"] if count > 1 else ["-r", "n"]
        return ["qsub", "-N", name, *several, "-j", "oe", "-o", "/dev/null"]

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What qsub answered. A server that was not reached may have been."""
        last = done.out.strip().splitlines()[-1:]
        if done.code == 0:
            job = last[0].strip() if last else ""
            return Submitted(job) if _JOB.fullmatch(job) else None
        said = done.err.lower()
        for table, lasting in ((PASSING, False), (LASTING, True)):
            if any(words in said for words in table):
                return Declined(_plain(done.err), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all jobs that have not ended: with -f none of a user's alone can be had."""
        return ["qstat", "-f", "-t"]

    def listed(self, done: Done) -> list[Row]:
        """What qstat lists of daskd's; arrays themselves are left out, for their members are listed."""
        if done.code != 0:
            raise Unreadable(f"qstat: {_plain(done.words)}")
        return list(self._rows(done.out))

    def history(self, names: Sequence[str], since: float) -> list[str] | None:
        """What the server, where it keeps that, knows of jobs that have ended."""
        return ["qstat", "-x", "-f", "-t"]

    def remembered(self, done: Done) -> list[Row]:
        """What it knows; nothing where the site keeps no history."""
        if done.code != 0:
            if any(words in done.err.lower() for words in _NO_HISTORY):
                return []
            raise Unreadable(f"qstat: {_plain(done.words)}")
        return [row for row in self._rows(done.out) if row.state is State.ENDED]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to what runs."""
        return ["qsig", "-s", "TERM", *(job for job, _ in elements)]

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs gets TERM, and KILL after the server's `kill_delay`."""
        return ["qdel", *(job for job, _ in elements)]

    def cancelled(self, done: Done) -> str:
        """What qdel or qsig complains of, beside jobs that there are no more."""
        lines = [line for line in done.err.splitlines() if line.strip() and not any(g in line.lower() for g in _GONE)]
        return _plain("\n".join(lines)) if done.code != 0 else ""

    def _rows(self, text: str) -> Iterator[Row]:
        for job, fields in _jobs(text):
            # of others' jobs, and of an array itself, nothing is to be known
            if batch_of(fields.get("Job_Name", "")) is not None and not _ARRAY.match(job):
                yield self._row(job, fields)

    def _row(self, job: str, fields: Mapping[str, str]) -> Row:
        letter, comment = fields.get("job_state", ""), fields.get("comment", "")[:500]
        state, wait = state_of(letter)
        words, end = "", None
        if wait is not None:
            wait = wait_of(comment, wait)
            words = told(wait, comment)
        elif state is State.ENDED:
            status = fields.get("Exit_status", fields.get("exit_status", ""))
            end = end_of(int(status) if re.fullmatch(r"-?\d{1,9}", status) else None, comment, self.codes)
            words = end.words
        elif state is not State.RUNNING:
            unknown = ", which daskd does not know" if state is State.UNKNOWN else ""
            words = f"its system says {letter}{unknown}"
        used = _seconds(fields.get("resources_used.walltime", ""))
        limit = _seconds(fields.get("Resource_List.walltime", ""))
        index = _INDEX.match(job)
        return Row(
            fields["Job_Name"],
            int(index[1]) if index else 0,
            job,
            state,
            words,
            wait,
            end,
            host=re.split(r"[/+]", fields.get("exec_host", ""), maxsplit=1)[0],
            used=used,
            left=None if used is None or limit is None else max(0.0, limit - used),
        )


class Torque(Pbs):
    """Torque's part: the same commands, with other words for arrays and resources."""

    name = "torque"
    index_variable = '"${PBS_ARRAYID:-0}"'
    codes = TORQUE_CODES

    def resources(self, cores: int, memory: int) -> str:
        """A job of one host, in the system's words."""
        return f"nodes=1:ppn={cores}" + (f",mem={_megabytes(memory)}" if memory else "")

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all."""
        return ["qsub", "-N", name, "-t", f"0-{count - 1}", "-r", "n", "-j", "oe", "-o", "/dev/null"]

    def history(self, names: Sequence[str], since: float) -> list[str] | None:
        """There is none: what has ended is listed as long as the server keeps it (`keep_completed`)."""
        return None


def clock(seconds: float) -> str:
    """A duration as "HH:MM:SS"."""
    whole = math.ceil(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _megabytes(memory: int) -> str:
    return f"{math.ceil(memory / (1 << 20))}mb"


def _seconds(text: str) -> float | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return float(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _plain(words: str) -> str:
    lines = [re.sub(r"^(qsub|qstat|qdel|qsig): ", "", line.strip()) for line in words.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:1000]


def _jobs(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Ids, and what stands below each; a line that begins with a tab goes on with the value before."""
    job, key = "", ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("Job Id:"):
            if job:
                yield job, fields
            job, key, fields = line.partition(":")[2].strip(), "", {}
            if not _JOB.fullmatch(job):
                raise Unreadable(f"qstat listed {line!r:.100}")
        elif line.startswith("\t") and key:
            fields[key] += line[1:]
        elif job and " = " in line:
            key, _, value = line.strip().partition(" = ")
            fields[key] = value
        elif not job and line.strip():
            raise Unreadable(f"qstat wrote something else: {line!r:.200}")
    if job:
        yield job, fields
