"""Slurm: its commands, and what they answer. Pure; tried on 22.05, written for 20.11 and later."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from daskd.model.cluster import Cause, End, State
from daskd.model.spec import WorkerGroupSpec

from .options import BatchOptions
from .runner import Done
from .slurm_words import LASTING, PASSING, SIGNAL_OF_FAILED_LAUNCH, meaning_of_reason, state_of
from .system import REST, Declined, Row, Submitted, System, Unreadable

_COLUMNS = {
    "ArrayJobID": 32,
    "ArrayTaskID": 16,
    "State": 32,
    "TimeLeft": 24,
    "TimeUsed": 24,
    "exit_code": 16,
    "BatchHost": 256,
    "Reason": 256,
    "Name": 1024,
}
"""Of `squeue -O`, with their widths: a reason may hold any separator. The name, which may hold anything, is last."""

_HISTORY = "JobID,State,ExitCode,NodeList,JobName"
_JOB = re.compile(r"(\d{1,12})(;[^\s;]+)?", re.ASCII)
_ELEMENT = re.compile(r"(\d{1,12})_(\d{1,9})", re.ASCII)
_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", re.ASCII)
_CODES = re.compile(r"(\d{1,5}):(\d{1,3})", re.ASCII)
_GONE = ("Invalid job id specified", "Job/step already completing or completed", "already finished")


class Slurm(System):
    """Slurm's part of the batch drivers."""

    name = "slurm"
    index_variable = '"$SLURM_ARRAY_TASK_ID"'
    rank_variable = "SLURM_PROCID"

    def directives(self, group: WorkerGroupSpec, options: BatchOptions) -> list[str]:
        """The header's lines: what the user asks for."""
        memory = options.memory_of(group)
        asked = {
            "--partition": options.queue,
            "--account": options.account,
            "--reservation": options.reservation,
            "--time": None if options.walltime is None else clock(options.walltime),
            "--nodes": group.nodes if group.nodes > 1 else None,
            "--ntasks": group.nodes,
            "--ntasks-per-node": 1 if group.nodes > 1 else None,
            "--cpus-per-task": options.cores_of(group),
            "--mem": f"{math.ceil(memory / (1 << 20))}M" if memory else None,
        }
        lines = [f"{name}={_quoted(str(value))}" for name, value in asked.items() if value is not None]
        return [f"#SBATCH {line}" for line in (*lines, *options.job_extra_directives)]

    def submit(self, name: str, count: int, output: str) -> list[str]:
        """One array for all. What finding, ending and reading them takes goes before the header's word."""
        folder = output.replace("%", "%%")
        return [
            "sbatch",
            "--parsable",
            f"--job-name={name}",
            f"--array=0-{count - 1}",
            "--no-requeue",
            # the environment is a built one, and what loads a login's would wait for it
            "--export=ALL",
            "--propagate=NONE",
            "--chdir=/",
            "--open-mode=append",
            f"--output={folder}/{name}.%a.out",
        ]

    def spread(self, nodes: int, cores: int) -> str:
        """A step of one task a node. What a site, or the job's environment, would have otherwise is said here."""
        words = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cores}"]
        words += ["--input=all", "--wait=0", "--kill-on-bad-exit=0", "--mpi=none"]
        return f"srun {' '.join(words)}"

    def submitted(self, done: Done) -> Submitted | Declined | None:
        """What sbatch answered. A time-out at its controller is no refusal: such jobs have run."""
        last = done.out.strip().splitlines()[-1:]
        if done.code == 0:
            match = _JOB.fullmatch(last[0].strip()) if last else None
            return Submitted(match[1]) if match else None
        said = done.err.lower()
        for table, lasting in ((LASTING, True), (PASSING, False)):
            if any(words in said for words in table):
                return Declined(_plain(done.err), lasting)
        return None

    def listing(self, user: str) -> list[str]:
        """One listing of all of a user's jobs, an array's members apart."""
        columns = ",".join(f"{name}:{width}" for name, width in _COLUMNS.items())
        return ["squeue", "--noheader", "--array", "--states=all", f"--user={user}", f"--Format={columns}"]

    def listed(self, done: Done) -> list[Row]:
        """What squeue lists."""
        if done.code != 0:
            raise Unreadable(f"squeue: {_plain(done.words)}")
        return [_row(line) for line in done.out.splitlines() if line.strip()]

    def history(self, names: Sequence[str], since: float) -> list[str]:
        """What accounting, where there is one, knows of these jobs."""
        minutes = math.ceil(since / 60) + 1
        return [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--name={','.join(names)}",
            f"--starttime=now-{minutes}minutes",
            f"--format={_HISTORY}",
        ]

    def remembered(self, done: Done) -> list[Row]:
        """The members of arrays that sacct knows; none where the site has no accounting."""
        if done.code != 0:
            if "accounting storage is disabled" in done.err.lower():
                return []
            raise Unreadable(f"sacct: {_plain(done.words)}")
        return [row for line in done.out.splitlines() if (row := _past_row(line)) is not None]

    def ask_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to the batch process alone."""
        return ["scancel", "--batch", "--signal=TERM", *_elements(elements)]

    def ask_ranks_to_end(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """TERM to the steps, all processes of them: `srun` itself, the batch process, would kill them at once."""
        return ["scancel", "--signal=TERM", *_elements(elements)]

    def cancel(self, elements: Sequence[tuple[str, int]]) -> list[str]:
        """What waits goes; what runs gets TERM in all its processes, and KILL after Slurm's own grace.

        No filter by state stands beside the names: with one, all that waits of an array goes (seen with 22.05).
        """
        return ["scancel", *_elements(elements)]

    def cancelled(self, done: Done) -> str:
        """What scancel complains of, beside jobs that there are no more."""
        lines = [line for line in done.err.splitlines() if line.strip() and not any(gone in line for gone in _GONE)]
        return _plain("\n".join(lines)) if done.code != 0 else ""


def clock(seconds: float) -> str:
    """A duration as "D-HH:MM:SS", whole minutes, for Slurm counts by them."""
    minutes = max(1, math.ceil(seconds / 60))
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02}:{rest % 60:02}:00"


def duration(text: str) -> float | None:
    """Seconds of Slurm's "[D-][HH:]MM:SS"; None for "UNLIMITED", "INVALID" and the like."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(days * 86_400 + hours * 3600 + minutes * 60 + seconds)


def _quoted(value: str) -> str:
    """As a header's line holds it; Slurm takes quotes there as a shell does."""
    return value if re.fullmatch(r"[\w.,:@%+=/-]+", value, re.ASCII) else "'" + value.replace("'", "'\\''") + "'"


def _elements(elements: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{job}_{index}" for job, index in elements]


def _plain(words: str) -> str:
    """Slurm's complaint, without the name of the program that made it."""
    lines = [re.sub(r"^\w+: (error|fatal): (Batch job submission failed: )?", "", line) for line in words.splitlines()]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))[:1000]


def _row(line: str) -> Row:
    fields, at = {}, 0
    for name, width in _COLUMNS.items():
        fields[name] = line[at : at + width].strip()
        at += width
    job, index = fields["ArrayJobID"], fields["ArrayTaskID"]
    if not job.isdigit():
        raise Unreadable(f"squeue listed {line.strip()!r:.200}")
    status = int(fields["exit_code"]) if fields["exit_code"].isdigit() else 0
    return made(
        name=fields["Name"],
        # what waited of an array when it was cancelled is one row of no index
        element=(job, int(index) if index.isdigit() else REST),
        word=fields["State"],
        reason=fields["Reason"],
        codes=(status >> 8 & 0xFF, status & 0x7F),
        host=fields["BatchHost"],
        times=(duration(fields["TimeUsed"]), duration(fields["TimeLeft"])),
    )


def _past_row(line: str) -> Row | None:
    fields = line.split("|", 4)
    if len(fields) != 5:
        raise Unreadable(f"sacct told {line!r:.200}")
    element, codes = _ELEMENT.fullmatch(fields[0]), _CODES.fullmatch(fields[2])
    if element is None:
        return None
    code = (int(codes[1]), int(codes[2])) if codes else (0, 0)
    return made(
        name=fields[4],
        element=(element[1], int(element[2])),
        word=fields[1].split(" ")[0],  # "CANCELLED by 1000"
        reason="",
        codes=code,
        host="" if fields[3] == "None assigned" else fields[3],
        times=(None, None),
    )


def made(
    name: str,
    element: tuple[str, int],
    word: str,
    reason: str,
    codes: tuple[int, int],
    host: str,
    times: tuple[float | None, float | None],
) -> Row:
    """A row, by what Slurm says.

    Parameters
    ----------
    codes
        Exit code and signal.
    times
        Seconds used and left.
    """
    state, cause = state_of(word)
    words, wait = "", None
    if state is State.QUEUED:
        wait, words = meaning_of_reason(reason)
    elif state is State.UNKNOWN:
        words = f"Slurm says {word}, which daskd does not know"
    elif state is not State.RUNNING:
        words = f"Slurm says {word}" + (f" ({reason})" if reason not in ("", "None") else "")
    end = None
    if state is State.ENDED:
        code, signum = codes
        end = _end(cause, code, signum, words)
    used, left = times
    return Row(name, element[1], element[0], state, words, wait, end, host, used, left)


def _end(cause: Cause, code: int, signum: int, words: str) -> End:
    if cause is Cause.EXITED and signum == SIGNAL_OF_FAILED_LAUNCH:
        return End(Cause.FAILED_TO_START, words=f"{words}: its node could not start it")
    if cause is Cause.EXITED and signum:
        return End(Cause.SIGNAL, signal=signum, words=f"was killed by signal {signum}")
    if cause is Cause.EXITED and code > 128:
        return End(Cause.SIGNAL, signal=code - 128, words=f"was killed by signal {code - 128}")
    if cause is Cause.EXITED:
        return End(cause, code=code, words=f"exited with code {code}")
    # a node that is set down may go on with what it runs
    return End(cause, words=words, certain=cause is not Cause.NODE_LOST)
