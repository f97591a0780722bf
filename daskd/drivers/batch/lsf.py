"""LSF: its commands, and what they answer. Pure; written from its documentation and others' captures of LSF 10.1."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from daskd.drivers.protocol import Wait
from daskd.model.cluster import State
from daskd.model.quantity import Amount
from daskd.model.spec import Text, WorkerGroupSpec

from . import waits
from .elements import batch_of
from .lsf_words import LASTING, REASONS, end_of, state_of
from .options import BatchOptions, one_name
from .runner import Done
from .system import Declined, Row, Submitted, System, Unreadable

Unit = Literal["kb", "mb", "gb", "tb", "pb", "eb"]
_POWERS: Mapping[Unit, int] = {"kb": 1, "mb": 2, "gb": 3, "tb": 4, "pb": 5, "eb": 6}

_FIELDS = "jobid jobindex stat job_name exec_host exit_code exit_reason pend_reason run_time runtimelimit"
_SUBMITTED = re.compile(r"^Job <(\d{1,18})> is submitted to ", re.MULTILINE | re.ASCII)
_ID = re.compile(r"(\d{1,18})(?:\[(\d{1,9})\])?", re.ASCII)
_NAME = re.compile(r"(.*?)(?:\[(\d{1,9})\])?", re.ASCII | re.DOTALL)
_SECONDS = re.compile(r"(\d{1,12})(?:\.\d+)? second\(s\)", re.ASCII)
_CLOCK = re.compile(r"(\d{1,9}):(\d{2}):(\d{2})", re.ASCII)
_MINUTES = re.compile(r"(\d{1,9}(?:\.\d+)?)(?: ?min)?(?:/.*)?", re.ASCII)
_REFUSED = "job not submitted"
_NONE = re.compile(r"\bno (unfinished )?job found", re.IGNORECASE)
_GONE = ("already finished", "no matching job found", "is not found")


class LsfOptions(BatchOptions):
    """What a worker group may ask of LSF."""

    project: Text | None = Field(default=None, min_length=1, description="Another name for `account`.")
    ncpus: int | None = Field(default=None, ge=1, le=65_536, description="Another name for `cores`.")
    mem: Amount | None = Field(default=None, description="Another name for `memory`.")
    lsf_units: Unit | None = Field(
        default=None,
        description="The unit of memory limits here, LSF_UNIT_FOR_LIMITS of lsf.conf; by default LSF's own, kb.",
    )
    use_stdin: bool = Field(default=True, description="Scripts are given to bsub on its standard input; no other way.")

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, given: Any) -> Any:
        return one_name(given, {"project": "account", "ncpus": "cores", "mem": "memory"})

    @field_validator("use_stdin")
    @classmethod
    def _always(cls, value: bool) -> bool:
        if not value:
            raise ValueError("bsub reads a script's header on its standard input alone: leave it out")
        return value


class Lsf(System):
    """LSF's part of the batch drivers."""

    name = "lsf"
    index_variable = '"$((LSB_JOBINDEX - 1))"'
    first_index = 1
    private_script = False  # bjobs -l shows it to everybody
    keeps_output = False

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines: what the user asks for."""
        assert isinstance(options, LsfOptions)
        cores, memory = options.cores_of(group), options.memory_of(group)
        asked = [
            ("-q", options.queue),
            ("-P", options.account and f'"{options.account}"'),
            ("-U", options.reservation),
            ("-n", str(cores)),
            ("-R", '"span[hosts=1]"' if cores > 1 else None),
            ("-M", str(in_units(memory, options.lsf_units or "kb")) if memory else None),
            ("-W", None if options.walltime is None else run_limit(options.walltime)),
        ]
        lines = [f"{name} {value}" for name, value in asked if value is not None]
        return [f"#BSUB {line}" for line in (*lines, *options.job_extra_directives)]

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all, which LSF does not run again; without an output it would mail what jobs print."""
        return ["bsub", "-J", f"{name}[1-{count}]", "-rn", "-o", "/dev/null", "-e", "/dev/null"]

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What bsub answered. It says so itself where it submitted nothing."""
        match = _SUBMITTED.search(done.out)
        if match is not None:
            return Submitted(match[1]) if done.code == 0 else None
        said = f"{done.err}\n{done.out}".lower()
        if done.code != 0 and _REFUSED in said:
            return Declined(_plain(done.words), any(words in said for words in LASTING))
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs, with those that ended within the site's CLEAN_PERIOD."""
        return ["bjobs", "-a", "-u", user, "-o", _FIELDS, "-json"]

    def listed(self, done: Done) -> list[Row]:
        """What bjobs lists of daskd's."""
        text = done.out[done.out.find("{") :] if "{" in done.out else ""
        if not text:
            if _NONE.search(done.err) or _NONE.search(done.out):
                return []
            raise Unreadable(f"bjobs: {_plain(done.words)}")
        try:
            answer = json.loads(text)
            records = answer["RECORDS"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"bjobs wrote something else ({error}): {text[:200]!r}") from error
        if done.code != 0 and records:
            raise Unreadable(f"bjobs: {_plain(done.words)}")
        if not isinstance(records, list):
            raise Unreadable(f"bjobs wrote something else: {text[:200]!r}")
        return list(_rows(records))

    def history(self, names: Sequence[str], since: float) -> None:
        """There is none that can be read safely: what has ended is listed as long as LSF keeps it (CLEAN_PERIOD)."""
        return

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to what runs."""
        return ["bkill", "-s", "TERM", *(job for job, _ in elements)]

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs gets INT and TERM, and KILL some seconds later (JOB_TERMINATE_INTERVAL)."""
        return ["bkill", *(job for job, _ in elements)]

    def cancelled(self, done: Done) -> str:
        """What bkill complains of, beside jobs that there are no more."""
        if done.code == 0:
            return ""
        # what it did and what it could not do come in the same lines
        said = [line for line in f"{done.err}\n{done.out}".splitlines() if not line.endswith("is being terminated")]
        said = [line for line in said if not line.endswith("is being signaled")]
        return _plain("\n".join(line for line in said if not any(words in line.lower() for words in _GONE)))


def in_units(memory: int, unit: Unit) -> int:
    """Bytes in the unit of LSF's limits, rounded up."""
    return -(-memory // (1 << 10 * _POWERS[unit]))


def run_limit(seconds: float) -> str:
    """A duration as LSF's limits are written, "HH:MM", rounded up."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _plain(words: str) -> str:
    return "; ".join(dict.fromkeys(line.strip() for line in words.splitlines() if line.strip()))[:1000]


def _rows(records: Sequence[Any]) -> Iterator[Row]:
    for record in records:
        if not isinstance(record, dict) or "STAT" not in record:
            raise Unreadable(f"bjobs listed {record!r:.200}")
        fields = {str(key): str(value).strip() for key, value in record.items()}
        name = _NAME.fullmatch(fields.get("JOB_NAME", ""))
        # of others' jobs nothing is to be known
        if name is not None and batch_of(name[1]) is not None:
            yield _row(name[1], name[2], fields)


def _row(name: str, place: str | None, fields: Mapping[str, str]) -> Row:
    job = _ID.fullmatch(fields.get("JOBID", ""))
    if job is None:
        raise Unreadable(f"bjobs listed {dict(fields)!r:.200}")
    index = next((int(text) for text in (place, job[2], fields.get("JOBINDEX")) if text and text.isdigit()), 0)
    word, reason = fields["STAT"], fields.get("PEND_REASON", "")
    state, wait = state_of(word)
    words, end = "", None
    if wait is not None:
        wait = wait if wait is Wait.HELD else waits.wait_of(REASONS, reason, wait)
        words = waits.told(wait, "LSF", reason)
    elif state is State.ENDED:
        end = end_of(word, _code(fields.get("EXIT_CODE", "")), fields.get("EXIT_REASON", ""))
        words = end.words
    elif state is not State.RUNNING:
        unknown = ", which daskd does not know" if state is State.UNKNOWN and word != "UNKWN" else ""
        words = f"LSF says {word}{unknown}"
    used, limit = _run_time(fields.get("RUN_TIME", "")), _limit(fields.get("RUNTIMELIMIT", ""))
    return Row(
        name,
        index,
        f"{job[1]}[{index}]" if index else job[1],
        state,
        words,
        wait,
        end,
        host=fields.get("EXEC_HOST", "").split(":")[0].rpartition("*")[2],
        used=used,
        left=None if used is None or limit is None else max(0.0, limit - used),
    )


def _code(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _run_time(text: str) -> float | None:
    match = _SECONDS.fullmatch(text)
    return float(match[1]) if match else _on_clock(text)


def _limit(text: str) -> float | None:
    match = _MINUTES.fullmatch(text)
    return 60 * float(match[1]) if match else _on_clock(text)


def _on_clock(text: str) -> float | None:
    """Of "HH:MM:SS", as sites have it that set LSB_HMS_TIME_FORMAT."""
    match = _CLOCK.fullmatch(text)
    return 3600.0 * int(match[1]) + 60 * int(match[2]) + int(match[3]) if match else None
