"""The command lines of the double of OAR. Standard library alone; no code of daskd."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from .double_client import ask, seconds, value_of

_STATES = {"Q": "Waiting", "H": "Hold", "R": "Running", "S": "Suspended", "E": "Finishing"}
_EVENTS = {"deleted": ["FRAG_JOB_REQUEST", "SEND_KILL_JOB"], "limit": ["WALLTIME", "FRAG_JOB_REQUEST"]}
UNKNOWN_QUEUE = 248
NOT_RUNNING = 5
ALREADY_KILLED = 6


def oarsub(folder: Path, arguments: list[str]) -> int:
    """Submit the command that is its last argument, an array always, of jobs that have an id each."""
    walltime = re.search(r"walltime=([\d:]+)", value_of(arguments, "-l"))
    queue = value_of(arguments, "-q")
    answer = ask(
        folder,
        verb="submit",
        name=value_of(arguments, "-n"),
        indexes=list(range(1, int(value_of(arguments, "--array")) + 1)),
        text=f"{arguments[-1]}\n",
        form="{serial}",
        variables={"OAR_JOB_ID": "{serial}", "OAR_ARRAY_ID": "{number}", "OAR_ARRAY_INDEX": "{index}"},
        asked={"command": arguments[-1]} | ({"queue": queue} if queue else {}),
        limit=seconds(walltime[1]) if walltime else 0.0,
        held="--hold" in arguments,
    )
    print("[ADMISSION RULE] Modify resource description with type constraints")
    if "refused" in answer:
        sys.stderr.write(f"# Error: queue '{queue}' does not exist\n")
        return UNKNOWN_QUEUE
    for job in answer["ids"]:
        print(f"OAR_JOB_ID={job}")
    if len(answer["ids"]) > 1:
        print(f"OAR_ARRAY_ID={answer['number']}")
    return 0


def shown(job: dict[str, Any]) -> dict[str, Any]:
    """One job as oarstat writes it."""
    ended = "Error" if job["why"] else "Terminated"
    return {
        "Job_Id": int(job["id"]),
        "array_id": job["array"],
        "array_index": job["index"],
        "name": job["name"],
        "owner": job["owner"],
        "state": ended if job["state"] == "C" else _STATES[job["state"]],
        "assigned_network_address": [] if job["began"] is None else ["node1"],
        "queue": "main",
        "command": job["asked"]["command"],
        "startTime": int(job["began"] or 0),
        "submissionTime": int(job["submitted"]),
        "walltime": int(job["limit"] or 7200),
        "message": "FIFO scheduling OK" if job["began"] is None else "",
        "exit_code": job["status"],
        "events": [{"type": name, "job_id": int(job["id"])} for name in _EVENTS.get(job["why"], [])],
    }


def oarstat(folder: Path, arguments: list[str]) -> int:
    """List what has not ended of one user, or jobs by their names; of none at all nothing is printed."""
    jobs = ask(folder, verb="list")
    if "--sql" in arguments:
        names = re.findall(r"'([^']*)'", value_of(arguments, "--sql"))
        jobs = [job for job in jobs if job["name"] in names]
    else:
        jobs = [job for job in jobs if job["state"] != "C" and job["owner"] == value_of(arguments, "-u")]
    if jobs:
        print(json.dumps({job["id"]: shown(job) for job in jobs}, indent=3))
    return 0


def oardel(folder: Path, arguments: list[str]) -> int:
    """Signal the first process of jobs, or end jobs at once."""
    if arguments[0] == "-s":
        number = int(signal.Signals[f"SIG{arguments[1]}"])
        missing = ask(folder, verb="signal", jobs=arguments[2:], number=number, alone=True)
        words, code = "Cannot signal {} ; This job is not running.", NOT_RUNNING
    else:
        missing = ask(folder, verb="delete", jobs=arguments, numbers=[int(signal.SIGKILL)])
        words, code = "Cannot frag {} ; This job was already killed.", ALREADY_KILLED
    for job in missing:
        sys.stderr.write(f"{words.format(job)}\n")
    return code if missing else 0


COMMANDS = {"oarsub": oarsub, "oarstat": oarstat, "oardel": oardel}
