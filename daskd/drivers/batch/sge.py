"""SGE: its commands, and what they answer. Pure; tried on Son of Grid Engine 8.1.9."""

from __future__ import annotations

import calendar
import math
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import Field, field_validator

from daskd.drivers.protocol import Wait
from daskd.model.cluster import State
from daskd.model.spec import Text, WorkerGroupSpec

from .elements import batch_of
from .options import BatchOptions, Folder
from .runner import Done
from .sge_words import GOES_ON, LASTING, PASSING, end_of, state_of, told, wait_of
from .system import Declined, Row, Submitted, System, Unreadable

MOST_EXPLAINED = 100
"""Jobs whose waiting is asked about at once."""

_SUBMITTED = re.compile(r"(\d{1,12})(?:\.\d+-\d+:\d+)?", re.ASCII)
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)
_GONE = "does not exist"
_SECTION = re.compile(r"^=+$", re.MULTILINE)
_MOST_INDEXES = 100_000


class SgeOptions(BatchOptions):
    """What a worker group may ask of SGE."""

    parallel_environment: Text = Field(
        default="smp",
        min_length=1,
        description="The parallel environment, of slots on one host, for jobs of several cores.",
    )
    memory_resource: Text | None = Field(
        default=None,
        min_length=1,
        description='The resource by which memory is asked for, a slot each, such as "h_vmem"; by default it is not.',
    )
    resource_spec: Text | None = Field(
        default=None, min_length=1, description='More resources, such as "gpu=1,m_mem_free=4G".'
    )

    @field_validator("log_directory")
    @classmethod
    def _plain(cls, folder: Folder | None) -> Folder | None:
        if folder is not None and re.search(r"[:,$\s]", folder):
            raise ValueError(f"{folder!r} holds a colon, comma, dollar or space, which qsub reads as something else")
        return folder


class Sge(System):
    """SGE's part of the batch drivers. Its commands are to run with TZ=UTC, for they print times without a zone."""

    name = "sge"
    index_variable = '"$((SGE_TASK_ID - 1))"'
    first_index = 1
    private_script = False  # it lies where others can read it, on the node

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines: what the user asks for."""
        assert isinstance(options, SgeOptions)
        cores, memory = options.cores_of(group), options.memory_of(group)
        slot = f"{math.ceil(memory / cores / (1 << 20))}M"
        asked = [
            # else the queue's own shell runs the script, often csh
            ("-S", options.shebang[2:].split()[0]),
            ("-w", "e"),
            ("-q", options.queue),
            ("-P", options.account),
            ("-ar", options.reservation),
            ("-pe", f"{options.parallel_environment} {cores}" if cores > 1 else None),
            ("-l", None if options.walltime is None else f"h_rt={math.ceil(options.walltime)}"),
            ("-l", f"{options.memory_resource}={slot}" if memory and options.memory_resource else None),
            ("-l", options.resource_spec),
        ]
        lines = [f"{name} {value}" for name, value in asked if value is not None]
        return [f"#$ {line}" for line in (*lines, *options.job_extra_directives)]

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all. With -notify qdel announces the end to a job, which has the queue's `notify` then."""
        argv = ["qsub", "-terse", "-N", name, "-t", f"1-{count}", "-r", "n", "-notify", "-j", "y"]
        return [*argv, "-o", f"{output}/$JOB_NAME.$TASK_ID.out"]

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What qsub answered. A qmaster that was not reached may have been."""
        last = done.out.strip().splitlines()[-1:]
        if done.code == 0:
            match = _SUBMITTED.fullmatch(last[0].strip()) if last else None
            return Submitted(match[1]) if match else None
        said = done.err.lower()
        for table, lasting in ((LASTING, True), (PASSING, False)):
            if any(words in said for words in table):
                return Declined(_plain(done.err), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs that have not ended; -r: with their whole names, and limits."""
        return ["qstat", "-u", user, "-r", "-xml"]

    def listed(self, done: Done) -> list[Row]:
        """What qstat lists: in two places, what waits of an array in one row."""
        if done.code != 0:
            raise Unreadable(f"qstat: {_plain(done.words)}")
        try:
            root = ElementTree.fromstring(done.out)  # noqa: S314 - the site's own command wrote it
        except ElementTree.ParseError as error:
            raise Unreadable(f"qstat wrote no XML ({error}): {done.words[:200]}") from error
        if root.tag != "job_info" or root.find("queue_info") is None or root.find("job_info") is None:
            raise Unreadable(f"qstat wrote something else: {done.out[:200]!r}")
        return [row for job in root.iter("job_list") for row in _rows(job)]

    def explanation(self, rows: Sequence[Row]) -> list[str] | None:
        """Qstat's details of what waits, which alone hold the scheduler's words, and why one is in error."""
        waiting = list(dict.fromkeys(row.job for row in rows if row.state is State.QUEUED and batch_of(row.name)))
        return ["qstat", "-j", ",".join(waiting[:MOST_EXPLAINED])] if waiting else None

    def explained(self, rows: Sequence[Row], done: Done) -> list[Row]:
        """What waits, with these words; what has begun meanwhile is not in it."""
        said = dict(_reasons(done.out))
        return [_explained(row, said.get(row.job, {})) if row.state is State.QUEUED else row for row in rows]

    def history(self, names: Sequence[str], since: float) -> list[str]:
        """What the accounting file, where it can be read, holds of these jobs; several by what is common to them."""
        days = str(math.ceil(since / 86_400) + 1)
        marks = {(batch_of(name) or "")[:6] for name in names}
        several = f"*{marks.pop()}*" if len(marks) == 1 else "*"
        return ["qacct", "-d", days, "-j", names[0] if len(names) == 1 else several]

    def remembered(self, done: Done) -> list[Row]:
        """The jobs that qacct knows; none where there is no accounting file."""
        if done.code != 0 and not done.out.strip():
            if "not found" in done.err or "no such file" in done.err.lower() or "no jobs running" in done.err:
                return []
            raise Unreadable(f"qacct: {_plain(done.words)}")
        sections = (_fields(text) for text in _SECTION.split(done.out) if text.strip())
        return [row for fields in sections if (row := _past_row(fields)) is not None]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """Qdel announces the end: SGE lets a user send a running job nothing else."""
        return self.cancel(elements)

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs gets its notice, and KILL after the queue's `notify`."""
        return ["qdel", *(f"{job}.{index}" for job, index in elements)]

    def cancelled(self, done: Done) -> str:
        """What qdel complains of, beside jobs that there are no more."""
        lines = [line for line in (done.out + done.err).splitlines() if line.strip() and _GONE not in line]
        return _plain("\n".join(lines)) if done.code != 0 else ""


def _plain(words: str) -> str:
    """SGE's complaint, without what it says of every one."""
    lines = [re.sub(r"^(Unable to run job|error): (error: )?", "", line.strip()) for line in words.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line and line != "Exiting."))[:1000]


def _rows(job: ElementTree.Element) -> Iterator[Row]:
    number = job.findtext("JB_job_number", "")
    name = job.findtext("full_job_name", "") or job.findtext("JB_name", "")
    if not number.isdigit():
        raise Unreadable(f"qstat listed a job without a number: {number!r:.100}")
    letters = job.findtext("state", "")
    state, wait = state_of(letters)
    words = f"SGE says {letters}" if state in (State.PAUSED, State.ENDING) else told(wait) if wait is not None else ""
    if state is State.UNKNOWN:
        words = f"SGE says {letters}, which daskd does not know"
    started = _moment(job.findtext("JAT_start_time", ""))
    limit = next((r.text or "" for r in job.iter("hard_request") if r.get("name") == "h_rt"), "")
    for index in _indexes(job.findtext("tasks", "")):
        yield Row(
            name,
            index,
            number,
            state,
            words,
            wait,
            host=job.findtext("queue_name", "").partition("@")[2],
            started=started,
            over=started + float(limit) if started is not None and limit.isdigit() else None,
        )


def _indexes(tasks: str) -> list[int]:
    """Of "1-4:1", "3,4" and the like; a job that is no array is the first of one."""
    found: list[int] = []
    for part in tasks.split(",") if tasks else ["1"]:
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise Unreadable(f"qstat listed tasks {tasks!r:.100}")
        first = int(match[1])
        last, step = int(match[2] or first), max(1, int(match[3] or 1))
        found += range(first, min(last, first + _MOST_INDEXES) + 1, step)
    return found


def _moment(text: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def _reasons(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """By job, what is said of it: keys such as "error reason 2", "scheduling info"."""
    for section in _SECTION.split(text):
        fields: dict[str, str] = {}
        key = ""
        for line in section.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line[:1].isspace():
                key = " ".join(name.split())
                fields[key] = value.strip()
            elif key and line.strip():
                fields[key] += f"; {line.strip()}"
        if fields.get("job_number", "").isdigit():
            yield fields["job_number"], fields


def _explained(row: Row, fields: Mapping[str, str]) -> Row:
    if row.wait is Wait.HOPELESS:
        error = fields.get(f"error reason {row.index}") or next(
            (value for key, value in fields.items() if key.startswith("error reason")), ""
        )
        return replace(row, words=told(Wait.HOPELESS, error[:500]))
    reason = fields.get("scheduling info", "")
    if not reason or reason.startswith("(Collecting"):
        return row
    wait = row.wait if row.wait is Wait.HELD else wait_of(reason)
    return replace(row, wait=wait, words=told(wait, reason[:500]))


def _fields(text: str) -> dict[str, str]:
    pairs = (line.strip().split(None, 1) for line in text.splitlines() if line.strip())
    return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}


def _number(text: str) -> int:
    match = re.match(r"\d{1,9}", text)
    return int(match[0]) if match else 0


def _past_row(fields: Mapping[str, str]) -> Row | None:
    job, name = fields.get("jobnumber", ""), fields.get("jobname", "")
    if not job.isdigit() or "exit_status" not in fields:
        raise Unreadable(f"qacct told {dict(fields)!r:.200}")
    failed = fields.get("failed", "0")
    code = _number(failed)
    if code in GOES_ON:
        return None
    end = end_of(code, failed.partition(":")[2].strip(), _number(fields["exit_status"]))
    index = _number(fields.get("taskid", "")) or 1
    return Row(name, index, job, State.ENDED, end.words, end=end, host=fields.get("hostname", ""))
