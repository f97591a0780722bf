"""HTCondor: its commands, and what they answer. Pure; tried on 23.9.

HTCondor starts what a machine gave up anew, under the same id, and knows no switch against it. So jobs require that
they have never been started: what has begun and waits again has ended, and is taken out of the queue.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from daskd.drivers.protocol import Wait
from daskd.model.cluster import Cause, End, State
from daskd.model.quantity import Amount
from daskd.model.spec import WorkerGroupSpec

from . import condor_words as words
from .condor_words import LASTING, PASSING
from .options import BatchOptions, Folder
from .runner import Done
from .system import Declined, Handed, Jobs, Row, Script, Submitted, System, Unreadable

KEPT_S = 600
"""What has ended and stays in the queue is taken out of it by the daemon, or, if there is none, after so long."""

VACATE_S = 15
"""What HTCondor gives a job beyond the node's own grace: its files are still to be cleared away."""

_SUBMITTED = re.compile(r"(\d{1,12})\.\d+ - \d{1,12}\.\d+", re.ASCII)
_GONE = ("not found", "already marked", "marked for removal", "no jobs in the queue")

_LISTED = (
    *("ClusterId", "ProcId", "DaskdBatch", "DaskdWalltime", "JobStatus", "NumJobStarts", "RemoteHost"),
    *("LastRemoteHost", "JobCurrentStartDate", "TransferringInput", "LastRejMatchReason", "HoldReason"),
    *("HoldReasonCode", "HoldReasonSubCode", "VacateReason", "VacateReasonCode", "RemoveReason"),
    *("ExitBySignal", "ExitCode", "ExitSignal"),
)
_REMEMBERED = (*_LISTED, "LastHoldReason", "LastHoldReasonCode", "LastHoldReasonSubCode")
_MOST_SCANNED = 1_000_000


class CondorOptions(BatchOptions):
    """What a worker group may ask of HTCondor."""

    disk: Amount | None = Field(default=None, description="Disk of a job; by default the pool's own.")

    @field_validator("job_extra_directives", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        """A table of directives, too, as dask-jobqueue has it."""
        if isinstance(value, Mapping):
            return [f"{name} = {one}" for name, one in value.items()]
        return value

    @field_validator("log_directory")
    @classmethod
    def _plain(cls, folder: Folder | None) -> Folder | None:
        if folder is not None and re.search(r"[,$\"'\s]", folder):
            raise ValueError(
                f"{folder!r} holds a comma, dollar, quote or space, which HTCondor reads as something else"
            )
        return folder

    @field_validator("shebang")
    @classmethod
    def _words(cls, line: str) -> str:
        if re.search(r"[$\"']", line):
            raise ValueError(f"{line!r} holds a dollar or quote, which HTCondor reads as something else")
        return line


class Condor(System):
    """HTCondor's part of the batch drivers."""

    name = "htcondor"
    index_variable = '"$DASKD_INDEX"'

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The lines of a description that say what the user asks for."""
        assert isinstance(options, CondorOptions)
        memory = options.memory_of(group)
        asked = {
            "accounting_group": options.account,
            "request_cpus": options.cores_of(group),
            "request_memory": math.ceil(memory / (1 << 20)) if memory else None,
            "request_disk": math.ceil(options.disk / 1024) if options.disk else None,
        }
        asked = {name: value for name, value in asked.items() if value is not None}
        lines = [f"{name} = {value}" for name, value in asked.items()]
        limits = [f"{name} = {value}" for name, value in _walltime(options.walltime).items()]
        return [*lines, *options.job_extra_directives, *limits]

    def handed(self, script: Script, jobs: Jobs) -> Handed:
        """By a file that goes along to the node, for its owner alone; the description of the jobs everybody reads."""
        # a job has no home, and what it prints is one file
        text = f'{script.shebang}\nexec 2>&1\nexport HOME="${{HOME:-$(cd ~ && pwd)}}"\n{script.body}'
        submit = self.submit(jobs.name, len(jobs.ids), jobs.output)
        return Handed(submit, _description(script, jobs), {f"{jobs.name}.sh": text})

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """All of it is in the description."""
        return ["condor_submit", "-terse", "-"]

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What condor_submit answered. All jobs of a description are taken, or none is."""
        last = done.out.strip().splitlines()[-1:]
        if done.code == 0:
            match = _SUBMITTED.fullmatch(last[0].strip()) if last else None
            return Submitted(match[1]) if match else None
        said = done.err.lower()
        for table, lasting in ((PASSING, False), (LASTING, True)):
            if any(phrase in said for phrase in table):
                return Declined(_plain(done.err), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs that are daskd's."""
        whose = f"Owner == {_quoted(user)} && DaskdBatch =!= undefined"
        return ["condor_q", "-json", "-attributes", ",".join(_LISTED), "-constraint", whose]

    def listed(self, done: Done) -> list[Row]:
        """What condor_q lists."""
        if done.code != 0:
            raise Unreadable(f"condor_q: {_plain(done.words)}")
        return [_row(ad) for ad in _ads(done.out, "condor_q")]

    def clear(self, rows: Sequence[Row]) -> list[str]:
        """What has ended and waits to be started again, or to be released."""
        return self.cancel([(row.job, row.index) for row in rows])

    def history(self, names: Sequence[str], since: float) -> list[str]:
        """What the history, where it can be read, knows of these jobs; the last that left the queue come first."""
        wanted = f"stringListMember(DaskdBatch, {_quoted(','.join(names))})"
        # moments that stand still while a job ends are allowed for
        before = f"EnteredCurrentStatus < time() - {math.ceil(since) + 3600}"
        bounds = ["-since", before, "-scanlimit", str(_MOST_SCANNED)]
        return ["condor_history", "-json", "-attributes", ",".join(_REMEMBERED), *bounds, "-constraint", wanted]

    def remembered(self, done: Done) -> list[Row]:
        """The jobs that condor_history knows; none where it can't be read."""
        if done.code != 0:
            raise Unreadable(f"condor_history: {_plain(done.words)}")
        return [_past_row(ad) for ad in _ads(done.out, "condor_history")]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to the job's first process, and after `job_max_vacate_time` KILL to all of them."""
        return self.cancel(elements)

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes at once; what runs is asked to end, and killed by HTCondor if it does not."""
        return ["condor_rm", *(f"{job}.{index}" for job, index in elements)]

    def cancelled(self, done: Done) -> str:
        """What condor_rm complains of, beside jobs that there are no more."""
        lines = [line for line in done.err.splitlines() if line.strip() and not any(gone in line for gone in _GONE)]
        return _plain("\n".join(lines)) if done.code != 0 else ""


def is_requirement(line: str) -> bool:
    """Whether a directive says what machines suit: it is joined with daskd's own."""
    return line.partition("=")[0].strip().lower() == "requirements"


def _requirement(line: str) -> str:
    return f"({line.partition('=')[2].strip()})"


def _description(script: Script, jobs: Jobs) -> str:
    """One cluster of jobs: what finding, ending and reading them takes goes after the user's word."""
    shell, *arguments = script.shebang[2:].split()
    arguments.append(f"{jobs.name}.sh")
    wanted = [line for line in script.header if is_requirement(line)]
    fixed = {
        "universe": "vanilla",
        "executable": shell,
        "transfer_executable": "false",
        "arguments": f'"{" ".join(arguments)}"',
        # neither a secret nor what leads to one: everybody reads it
        "environment": '"DASKD_INDEX=$(Process)"',
        "initialdir": jobs.output,
        "transfer_input_files": f"{jobs.output}/{jobs.name}.sh",
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT",
        "transfer_output_files": '""',
        "output": f"{jobs.output}/{jobs.name}.$(Process).out",
        "stream_output": "true",
        "notification": "never",
        "batch_name": jobs.name,
        "My.DaskdBatch": f'"{jobs.name}"',
        "My.DaskdInstance": '"$(DaskdInstance)"',
        "kill_sig": "SIGTERM",
        "job_max_vacate_time": math.ceil(jobs.grace) + VACATE_S,
        "requirements": " && ".join(["(NumJobStarts == 0)", *map(_requirement, wanted)]),
        "periodic_remove": _is_over(f"time() - EnteredCurrentStatus > {KEPT_S}"),
    }
    others = [line for line in script.header if not is_requirement(line)]
    lines = [f"{name} = {value}" for name, value in fixed.items()]
    return "\n".join([*others, *lines, f"queue DaskdInstance in ({', '.join(jobs.ids)})", ""])


def _is_over(also: str) -> str:
    """The expression for jobs that have begun, do not run, and of which something else is so."""
    return f"NumJobStarts > 0 && (JobStatus == {words.IDLE} || JobStatus == {words.HELD}) && {also}"


def _walltime(seconds: float | None) -> dict[str, str]:
    if seconds is None:
        return {}
    limit = math.ceil(seconds)
    return {
        "My.DaskdWalltime": str(limit),
        # held, and not removed: so the queue says why it ended
        "periodic_hold": f"JobStatus == {words.RUNNING} && time() - JobCurrentStartDate > {limit}",
        "periodic_hold_reason": f'"its walltime of {limit} s was over"',
        "periodic_hold_subcode": str(words.WALLTIME_OVER),
    }


def _quoted(text: str) -> str:
    """As an expression's string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(said: str) -> str:
    """HTCondor's complaint, without what it says of every one."""
    lines = [re.sub(r"^(ERROR|WARNING): ", "", line.strip()) for line in said.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:1000]


def _ads(text: str, program: str) -> Iterator[Mapping[str, Any]]:
    """The jobs of an answer. Of none, some releases write an empty list, and some nothing."""
    if not text.strip():
        return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{program} wrote no JSON ({error}): {text[:200]!r}") from error
    if not isinstance(found, list):
        raise Unreadable(f"{program} wrote something else: {text[:200]!r}")
    for ad in found:
        if not isinstance(ad, dict) or not all(type(ad.get(key)) is int for key in ("ClusterId", "ProcId")):
            raise Unreadable(f"{program} told of a job without a number: {ad!r:.200}")
        if isinstance(ad.get("DaskdBatch"), str):
            yield ad


def _number(ad: Mapping[str, Any], key: str) -> int | None:
    value = ad.get(key)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(ad: Mapping[str, Any], key: str) -> str:
    value = ad.get(key)
    return value.strip()[:500] if isinstance(value, str) else ""


def _row(ad: Mapping[str, Any]) -> Row:
    """A job in the queue."""
    status = _number(ad, "JobStatus") or 0
    state = words.STATES.get(status, State.UNKNOWN)
    said, wait, end = "", None, None
    if status == words.HELD and "RemoteHost" in ad:
        state, said = State.ENDING, f"HTCondor holds it: {_text(ad, 'HoldReason')}"
    elif state is State.QUEUED and (_number(ad, "NumJobStarts") or 0) > 0:
        state, end = State.ENDED, _end_of_begun(ad, status)
    elif status == words.COMPLETED:
        end = _end_by_itself(ad)
    elif state is State.QUEUED:
        wait, said = _waits(ad, status)
    elif status == words.REMOVED:
        said = f"HTCondor removes it: {_text(ad, 'RemoveReason')}"
    elif status == words.RUNNING and ad.get("TransferringInput") is True:
        state, said = State.STARTING, "its files are brought to its machine"
    elif state is State.UNKNOWN:
        said = f"HTCondor says JobStatus {status}, which daskd does not know"
    began, limit = _number(ad, "JobCurrentStartDate"), _number(ad, "DaskdWalltime")
    return Row(
        _text(ad, "DaskdBatch"),
        int(ad["ProcId"]),
        str(ad["ClusterId"]),
        state,
        end.words if end is not None else said,
        wait,
        end,
        host=_host(ad),
        started=began,
        over=began + limit if began is not None and limit is not None else None,
    )


def _host(ad: Mapping[str, Any]) -> str:
    """The machine of "slot1_2@node7"."""
    slot = _text(ad, "RemoteHost") or _text(ad, "LastRemoteHost")
    return slot.rpartition("@")[2]


def _waits(ad: Mapping[str, Any], status: int) -> tuple[Wait, str]:
    """What a job waits for that has not begun."""
    if status == words.HELD:
        wait, reason = words.wait_of_held(_number(ad, "HoldReasonCode") or 0), _text(ad, "HoldReason")
    else:
        reason = _text(ad, "LastRejMatchReason")
        wait = words.wait_of_idle(reason)
    return wait, words.told(wait, reason)


def _end_of_begun(ad: Mapping[str, Any], status: int) -> End:
    """How a job ended that has begun and is idle or held."""
    if status == words.HELD:
        codes = (_number(ad, "HoldReasonCode") or 0, _number(ad, "HoldReasonSubCode") or 0)
        return words.end_by_hold(*codes, _text(ad, "HoldReason"))
    return words.end_by_eviction(_number(ad, "VacateReasonCode") or 0, _text(ad, "VacateReason"))


def _end_by_itself(ad: Mapping[str, Any]) -> End:
    code, signum = _number(ad, "ExitCode") or 0, _number(ad, "ExitSignal") or 0
    if ad.get("ExitBySignal") is not True:
        # the supervisor says by it what a shell would
        signum = code - 128 if code > 128 else 0
    if signum:
        return End(Cause.SIGNAL, signal=signum, words=f"was killed by signal {signum}")
    return End(Cause.EXITED, code=code, words=f"exited with code {code}")


def _past_row(ad: Mapping[str, Any]) -> Row:
    """A job that has left the queue."""
    end = _end_by_itself(ad) if _number(ad, "JobStatus") == words.COMPLETED else _end_of_removed(ad)
    index, job = int(ad["ProcId"]), str(ad["ClusterId"])
    return Row(_text(ad, "DaskdBatch"), index, job, State.ENDED, end.words, end=end, host=_host(ad))


def _end_of_removed(ad: Mapping[str, Any]) -> End:
    """How a job ended that was removed: what had befallen it before says why."""
    reason = _text(ad, "RemoveReason")
    has_begun = (_number(ad, "NumJobStarts") or 0) > 0
    held, vacated = _number(ad, "LastHoldReasonCode"), _number(ad, "VacateReasonCode") or 0
    if has_begun and held is not None:
        return words.end_by_hold(held, _number(ad, "LastHoldReasonSubCode") or 0, _text(ad, "LastHoldReason"))
    if has_begun and vacated >= words.FIRST_EVICTION:
        return words.end_by_eviction(vacated, _text(ad, "VacateReason"))
    return End(Cause.CANCELLED, words=f"was removed from the queue (HTCondor says: {reason})")
