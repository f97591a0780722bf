"""Moab: its commands, and what they answer. Pure; written from its documentation and others' captures.

Its jobs run under Torque: what a job asks for, and how it exits, is told in Torque's words.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence

from daskd.drivers.protocol import Wait
from daskd.model.cluster import State
from daskd.model.spec import WorkerGroupSpec

from . import waits
from .elements import batch_of
from .moab_words import LASTING, PASSING, REASONS, end_of, state_of
from .options import BatchOptions
from .pbs import PbsOptions, Torque
from .runner import Done
from .system import Declined, Handed, Jobs, Row, Script, Submitted, Unreadable

_LIVING = frozenset({"active", "eligible", "blocked"})
_PAST = frozenset({"completed"})
_ID = re.compile(r"(?:[A-Za-z][\w-]{0,63}\.)?\d{1,18}(?:\.[\w.-]+)?", re.ASCII)
_GONE = ("invalid job specified", "invalid job id", "job already completed", "no jobs")


class MoabOptions(PbsOptions):
    """What a worker group may ask of Moab."""


class Moab(Torque):
    """Moab's part of the batch drivers: a job each, for of its arrays is not known what their members are called."""

    name = "moab"
    index_variable = '"0"'

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines: what the user asks for."""
        lines = super().directives(group, options.model_copy(update={"reservation": None}))
        return [*lines, f"#PBS -l advres={options.reservation}"] if options.reservation else lines

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One job."""
        return ["msub", "-N", name, "-r", "n", "-j", "oe", "-o", "/dev/null"]

    def handed(self, script: Script, jobs: Jobs) -> Handed:
        """By its path, for msub reads no pipe; it copies the file to where others may read it."""
        file = f"{jobs.name}.job.sh"
        submit = self.submit(jobs.name, len(jobs.ids), jobs.output)
        return Handed([*submit, f"{jobs.output}/{file}"], files={file: script.text})

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What msub answered: the id alone, after an empty line. A server that was not reached may have been."""
        if done.code == 0:
            job = done.out.strip()
            return Submitted(job) if _ID.fullmatch(job) else None
        said = f"{done.err}\n{done.out}".lower()
        for table, lasting in ((PASSING, False), (LASTING, True)):
            if any(words in said for words in table):
                return Declined(_plain(done.words), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs that have not ended."""
        return ["showq", "--xml", "-w", f"user={user}"]

    def listed(self, done: Done) -> list[Row]:
        """What showq lists of daskd's, in three queues: what runs, what may, what may not."""
        return list(_rows(done, _LIVING))

    def history(self, names: Sequence[str], since: float) -> list[str]:
        """What Moab remembers of jobs that have ended, for as long as JOBCPURGETIME says."""
        return ["showq", "-c", "--xml"]

    def remembered(self, done: Done) -> list[Row]:
        """What it remembers."""
        return [row for row in _rows(done, _PAST) if row.state is State.ENDED]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to what runs."""
        return ["mjobctl", "-N", "TERM", ",".join(job for job, _ in elements)]

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs gets TERM, and KILL after Torque's `kill_delay`."""
        return ["mjobctl", "-c", ",".join(job for job, _ in elements)]

    def cancelled(self, done: Done) -> str:
        """What mjobctl complains of, beside jobs that there are no more."""
        said = [line for line in f"{done.err}\n{done.out}".splitlines() if "error" in line.lower()]
        said = [line for line in said if not any(words in line.lower() for words in _GONE)]
        return _plain("\n".join(said)) if done.code != 0 else ""


def _plain(words: str) -> str:
    lines = [re.sub(r"^ERROR:\s*", "", line.strip()) for line in words.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:1000]


def _rows(done: Done, queues: frozenset[str]) -> Iterator[Row]:
    """Of daskd's jobs in these queues, all of which must be there, empty ones too."""
    if done.code != 0:
        raise Unreadable(f"showq: {_plain(done.words)}")
    try:
        root = ElementTree.fromstring(done.out.strip())  # noqa: S314 - the site's own command wrote it
    except ElementTree.ParseError as error:
        raise Unreadable(f"showq wrote no XML ({error}): {done.words[:200]}") from error
    found = {queue.get("option", ""): queue for queue in root.iter("queue")}
    if root.tag != "Data" or not queues <= found.keys():
        raise Unreadable(f"showq wrote something else: {done.out[:200]!r}")
    for option in sorted(queues):
        for job in found[option].iter("job"):
            # of others' jobs nothing is to be known
            if batch_of(job.get("JobName", "")) is not None:
                yield _row(job.attrib)


def _row(fields: Mapping[str, str]) -> Row:
    job, word, reason = fields.get("JobID", ""), fields.get("State", ""), fields.get("BlockReason", "")
    if not _ID.fullmatch(job):
        raise Unreadable(f"showq listed a job {job!r:.100}")
    used, asked = _seconds(fields.get("AWDuration", "")), _seconds(fields.get("ReqAWDuration", ""))
    state, wait = state_of(word)
    words, end = "", None
    if wait is not None:
        if wait is not Wait.HELD:
            wait = waits.wait_of(REASONS, reason, wait)
        words = waits.told(wait, "Moab", reason or word)
    elif state is State.ENDED:
        over = used is not None and asked is not None and used >= asked
        end = end_of(word, fields.get("CompletionCode", ""), over_time=over)
        words = end.words
    elif state is not State.RUNNING:
        words = f"Moab says {word}{', which daskd does not know' if state is State.UNKNOWN else ''}"
    runs = state is State.RUNNING
    return Row(
        fields["JobName"],
        0,
        job,
        state,
        words,
        wait,
        end,
        host=fields.get("MasterHost", ""),
        used=used if runs else None,
        left=max(0.0, asked - used) if runs and used is not None and asked is not None else None,
    )


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else None
