"""OAR: its commands, and what they answer. Pure; written from its documentation and public source, of release 2.5."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from daskd.drivers.protocol import Wait
from daskd.model.cluster import State
from daskd.model.spec import Text, WorkerGroupSpec

from . import waits
from .elements import batch_of
from .oar_words import LASTING, PASSING, REASONS, end_of, state_of
from .options import BatchOptions, one_name
from .pbs import clock
from .runner import Done
from .system import Declined, Handed, Jobs, Row, Script, Submitted, System, Unreadable

_HEADER = "#OAR "
_JOB = re.compile(r"^OAR_JOB_ID=(\d{1,18})\s*$", re.MULTILINE | re.ASCII)
_ARRAY = re.compile(r"^OAR_ARRAY_ID=(\d{1,18})\s*$", re.MULTILINE | re.ASCII)
_GONE = ("this job was already killed", "this job is not running")
_OWN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
"""Strays have the names that their users gave them, which are to be no SQL."""

_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_STATUS_BITS = 0xFFFF


class OarOptions(BatchOptions):
    """What a worker group may ask of OAR."""

    project: Text | None = Field(default=None, min_length=1, description="Another name for `account`.")
    resource_spec: Text | None = Field(
        default=None, min_length=1, description='What a job is, in OAR\'s words, in place of cores: "/nodes=1/core=4".'
    )
    memory_per_core_property_name: str | None = Field(
        default=None,
        description='The property of this site\'s cores, such as "memcore", by which memory is asked for, in MiB; by '
        'default, and with "not_applicable", it is not.',
    )

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, given: Any) -> Any:
        return one_name(given, {"project": "account"})

    @field_validator("memory_per_core_property_name")
    @classmethod
    def _property(cls, name: str | None) -> str | None:
        if name is not None and not _PROPERTY.fullmatch(name):
            raise ValueError(f"{name!r:.100} names no property: it is made of letters, digits and _")
        return None if name == "not_applicable" else name

    @field_validator("reservation")
    @classmethod
    def _elsewhere(cls, name: str | None) -> str | None:
        if name is not None:
            raise ValueError('OAR calls it a container: write "-t inner=ID" into `job_extra_directives`')
        return name


class Oar(System):
    """OAR's part of the batch drivers.

    Its arrays are of jobs that have an id each. oarsub takes no script, but a command, and options from its command
    line: so what would be the header's lines become arguments.
    """

    name = "oar"
    index_variable = '"$((OAR_ARRAY_INDEX - 1))"'
    first_index = 1
    private_script = False  # commands are shown to everybody
    keeps_output = False

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """What the user asks for; resources and walltime are one request, for two would be alternatives."""
        assert isinstance(options, OarOptions)
        cores, memory = options.cores_of(group), options.memory_of(group)
        resources = options.resource_spec or f"/nodes=1/core={cores}"
        time = "" if options.walltime is None else f",walltime={clock(options.walltime)}"
        asked = [("-q", options.queue), ("--project", options.account), ("-l", resources + time)]
        lines = [f"{name} {shlex.quote(value)}" for name, value in asked if value is not None]
        own = [line for line in options.job_extra_directives if not _is_property(line)]
        wanted = [_value(line) for line in options.job_extra_directives if _is_property(line)]
        if memory and options.memory_per_core_property_name:
            wanted.append(f"{options.memory_per_core_property_name}>={math.ceil(memory / cores / (1 << 20))}")
        if wanted:
            # of several oarsub takes the last alone
            lines.append(f"-p {shlex.quote(' AND '.join(f'({one})' for one in wanted))}")
        return [f"{_HEADER}{line}" for line in (*lines, *own)]

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all; what jobs print is kept by the script itself."""
        return ["oarsub", "-n", name, "--array", str(count), "-O", "/dev/null", "-E", "/dev/null"]

    def handed(self, script: Script, jobs: Jobs) -> Handed:
        """By its file, of the same name, which the job's shell becomes: so OAR's signals reach it, and it alone."""
        asked = [part for line in script.header for part in shlex.split(line.removeprefix(_HEADER))]
        # any shell of a user's, csh too, reads this alike
        command = f"exec {script.shebang.removeprefix('#!').strip()} {shlex.quote(f'{jobs.output}/{jobs.name}.sh')}"
        return Handed([*self.submit(jobs.name, len(jobs.ids), jobs.output), *asked, command])

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What oarsub answered, among whatever a site's admission rules print."""
        found = _ARRAY.search(done.out) or _JOB.search(done.out)
        if found is not None:
            return Submitted(found[1]) if done.code == 0 else None
        said = f"{done.err}\n{done.out}".lower()
        if done.code != 0:
            for table, lasting in ((PASSING, False), (LASTING, True)):
                if any(words in said for words in table):
                    return Declined(_plain(done.words), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs that have not ended."""
        return ["oarstat", "-J", "-u", user]

    def listed(self, done: Done) -> list[Row]:
        """What oarstat lists of daskd's; where there is nothing it prints nothing."""
        if done.code != 0:
            raise Unreadable(f"oarstat: {_plain(done.words)}")
        if not done.out.strip():
            return []
        try:
            answer = json.loads(done.out)
        except ValueError as error:
            raise Unreadable(f"oarstat wrote no JSON ({error}): {done.out[:200]!r}") from error
        if not isinstance(answer, dict):
            raise Unreadable(f"oarstat wrote something else: {done.out[:200]!r}")
        return list(_rows(answer))

    def history(self, names: Sequence[str], since: float) -> list[str]:
        """What OAR's database, which forgets nothing, knows of these."""
        several = ", ".join(f"'{name}'" for name in names if _OWN_NAME.fullmatch(name))
        return ["oarstat", "-J", "--sql", f"job_name IN ({several or 'NULL'})"]

    def remembered(self, done: Done) -> list[Row]:
        """What it knows."""
        return [row for row in self.listed(done) if row.state is State.ENDED]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to the first process of what runs."""
        return ["oardel", "-s", "TERM", *(job for job, _ in elements)]

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs is killed."""
        return ["oardel", *(job for job, _ in elements)]

    def cancelled(self, done: Done) -> str:
        """What oardel complains of, beside jobs that there are no more."""
        lines = [line for line in done.err.splitlines() if not any(words in line.lower() for words in _GONE)]
        return _plain("\n".join(lines)) if done.code != 0 else ""


def _is_property(line: str) -> bool:
    return re.match(r"(-p|--property)([=\s]|$)", line) is not None


def _value(line: str) -> str:
    """What stands behind an option, without quotes around it."""
    return " ".join(shlex.split(re.sub(r"^(-p|--property)[=\s]*", "", line)))


def _plain(words: str) -> str:
    lines = [re.sub(r"^# (Error: )?", "", line.strip()) for line in words.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:1000]


def _rows(jobs: Mapping[str, Any]) -> Iterator[Row]:
    for key, fields in jobs.items():
        if not isinstance(fields, dict) or not key.isdigit() or "state" not in fields:
            raise Unreadable(f"oarstat listed {fields!r:.200}")
        # of others' jobs nothing is to be known
        if batch_of(str(fields.get("name") or "")) is not None:
            yield _row(key, fields)


def _row(job: str, fields: Mapping[str, Any]) -> Row:
    word, message = str(fields["state"]), str(fields.get("message") or "")
    # the same of other output formats, which a site or a user can choose
    started = _number(fields.get("startTime", fields.get("start_time"))) or None
    walltime = _number(fields.get("walltime"))
    state, wait = state_of(word)
    words, end = "", None
    if wait is not None:
        wait = wait if wait is Wait.HELD else waits.wait_of(REASONS, message, wait)
        words = waits.told(wait, "OAR", message)
    elif state is State.ENDED:
        status = _number(fields.get("exit_code"))
        is_status = status is not None and 0 <= status <= _STATUS_BITS
        end = end_of(word, int(status or 0) if is_status else None, _events(fields), message, began=started is not None)
        words = end.words
    elif state is not State.RUNNING:
        words = f"OAR says {word}{', which daskd does not know' if state is State.UNKNOWN else ''}"
    hosts = fields.get("assigned_network_address")
    return Row(
        str(fields["name"]),
        int(_number(fields.get("array_index")) or 1),
        job,
        state,
        words,
        wait,
        end,
        host=str(hosts[0]) if isinstance(hosts, list) and hosts else "",
        started=started,
        over=None if started is None or walltime is None else started + walltime,
    )


def _events(fields: Mapping[str, Any]) -> set[str]:
    events = fields.get("events")
    if not isinstance(events, list):
        return set()
    return {str(event.get("type")) for event in events if isinstance(event, dict)}


def _number(value: Any) -> float | None:
    """Numbers come as such, or as texts."""
    return float(value) if re.fullmatch(r"\d{1,15}", str(value), re.ASCII) else None
