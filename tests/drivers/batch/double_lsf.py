"""The command lines of the double of LSF. Standard library alone; no code of daskd."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from .double_client import ask, exit_code, header_of, seconds, value_of

_LIVING = {"Q": "PEND", "H": "PSUSP", "R": "RUN", "S": "USUSP", "E": "RUN"}
_PENDING = {
    "Q": "New job is waiting for scheduling;",
    "H": "Job was suspended by the user while pending: 1 host;",
}
_TERMINATED = {
    "deleted": "TERM_OWNER: job killed by owner",
    "limit": "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
}
NOT_FOUND = 255


def bsub(folder: Path, arguments: list[str]) -> int:
    """Submit what comes on standard input, an array always."""
    name, first, last = re.fullmatch(r"(\S+)\[(\d+)-(\d+)\]", value_of(arguments, "-J")).groups()  # type: ignore[union-attr]
    text = sys.stdin.read()
    header = header_of(text, "BSUB")
    queue = value_of(header, "-q")
    answer = ask(
        folder,
        verb="submit",
        name=name,
        indexes=list(range(int(first), int(last) + 1)),
        text=text,
        form="{number}[{index}]",
        variables={"LSB_JOBID": "{number}", "LSB_JOBINDEX": "{index}"},
        asked={"queue": queue} if queue else {},
        limit=seconds(value_of(header, "-W")),
        held="-H" in header,
    )
    if "refused" in answer:
        sys.stderr.write(f"{queue}: No such queue. Job not submitted.\n")
        return NOT_FOUND
    print(f"Job <{answer['number']}> is submitted to {'' if queue else 'default '}queue <main>.")
    return 0


def record(job: dict[str, Any]) -> dict[str, str]:
    """One job as bjobs writes it."""
    code = "" if not job["status"] else str(exit_code(job["status"]))
    ended = job["state"] == "C"
    failed = ended and (bool(job["status"]) or job["why"] != "")
    return {
        "JOBID": str(job["array"]),
        "JOBINDEX": str(job["index"]),
        "STAT": ("EXIT" if failed else "DONE") if ended else _LIVING[job["state"]],
        "JOB_NAME": f"{job['name']}[{job['index']}]",
        "EXEC_HOST": "" if job["began"] is None else "node1",
        "EXIT_CODE": str(128 - int(code)) if code.startswith("-") else code,
        "EXIT_REASON": _TERMINATED.get(job["why"], "") if ended else "",
        "PEND_REASON": _PENDING.get(job["state"], ""),
        "RUN_TIME": f"{job['used'] or 0} second(s)",
        "RUNTIMELIMIT": f"{job['limit'] / 60:.1f}" if job["limit"] else "",
    }


def bjobs(folder: Path, arguments: list[str]) -> int:
    """List jobs of one user, in JSON, with what has ended lately."""
    wanted = [name.upper() for name in value_of(arguments, "-o").split()]
    jobs = [job for job in ask(folder, verb="list") if job["owner"] == value_of(arguments, "-u")]
    if not jobs:
        sys.stderr.write("No job found\n")
        return 0
    records = [{name: record(job)[name] for name in wanted} for job in jobs]
    print(json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2))
    return 0


def bkill(folder: Path, arguments: list[str]) -> int:
    """Signal jobs, or end them."""
    word, jobs = ("signaled", arguments[2:]) if arguments[0] == "-s" else ("terminated", arguments)
    if word == "signaled":
        missing = ask(folder, verb="signal", jobs=jobs, number=int(signal.Signals[f"SIG{arguments[1]}"]))
    else:
        missing = ask(folder, verb="delete", jobs=jobs, numbers=[int(signal.SIGINT), int(signal.SIGTERM)])
    for job in jobs:
        if job in missing:
            sys.stderr.write(f"Job <{job}>: Job has already finished\n")
        else:
            print(f"Job <{job}> is being {word}")
    return NOT_FOUND if missing else 0


COMMANDS = {"bsub": bsub, "bjobs": bjobs, "bkill": bkill}
