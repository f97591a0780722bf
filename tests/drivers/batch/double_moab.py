"""The command lines of the double of Moab. Standard library alone; no code of daskd."""

from __future__ import annotations

import signal
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from .double_client import ask, exit_code, value_of
from .double_pbs import asked_of

_STATES = {"Q": "Idle", "H": "UserHold", "R": "Running", "S": "Suspended", "E": "Canceling"}
_QUEUES = {"Q": "eligible", "H": "blocked", "R": "active", "S": "active", "E": "active", "C": "completed"}


def msub(folder: Path, arguments: list[str]) -> int:
    """Submit the script that its last argument names."""
    script = Path(arguments[-1]).read_text()
    answer = ask(
        folder,
        verb="submit",
        name=value_of(arguments, "-N"),
        indexes=[0],
        text=script,
        form="{number}",
        variables={"PBS_JOBID": "{number}.double"},
        **asked_of(script),
    )
    if "refused" in answer:
        sys.stderr.write("ERROR:    cannot submit job - unknown queue\n")
        return 1
    print(f"\n{answer['ids'][0]}")
    return 0


def code_of(job: dict[str, Any]) -> str:
    """How a job ended, in Moab's words."""
    if job["status"] is None:
        return "CNCLD"
    code = exit_code(job["status"])
    status = 256 - code if code < 0 else code
    if job["why"]:
        return f"CNCLD({status})" if status else "CNCLD"
    return str(status)


def shown(job: dict[str, Any]) -> dict[str, str]:
    """The attributes of one job, as showq writes them."""
    ended = job["state"] == "C"
    fields = {
        "JobID": job["id"],
        "DRMJID": f"{job['id']}.double",
        "JobName": job["name"],
        "User": job["owner"],
        "State": ("Removed" if job["why"] else "Completed") if ended else _STATES[job["state"]],
        "ReqAWDuration": str(int(job["limit"] or 3600)),
        "StartTime": str(int(job["began"] or 0)),
        "SubmissionTime": str(int(job["submitted"])),
    }
    if job["began"] is not None:
        fields |= {"AWDuration": str(job["used"]), "MasterHost": "node1"}
    if job["state"] == "H":
        fields["BlockReason"] = "UserHold"
    return fields | ({"CompletionCode": code_of(job)} if ended else {})


def showq(folder: Path, arguments: list[str]) -> int:
    """List what has not ended, of one user, in three queues; or what has, of all."""
    user = value_of(arguments, "-w").removeprefix("user=")
    names = ("completed",) if "-c" in arguments else ("active", "eligible", "blocked")
    root = ElementTree.Element("Data")
    ElementTree.SubElement(root, "Object").text = "queue"
    jobs = [job for job in ask(folder, verb="list") if user in ("", job["owner"])]
    for name in names:
        here = [job for job in jobs if _QUEUES[job["state"]] == name]
        queue = ElementTree.SubElement(root, "queue", count=str(len(here)), option=name)
        for job in here:
            ElementTree.SubElement(queue, "job", shown(job))
    print(ElementTree.tostring(root, encoding="unicode"))
    return 0


def mjobctl(folder: Path, arguments: list[str]) -> int:
    """Signal jobs, or end them."""
    jobs = arguments[-1].split(",")
    if arguments[0] == "-N":
        missing = ask(folder, verb="signal", jobs=jobs, number=int(signal.Signals[f"SIG{arguments[1]}"]))
    else:
        missing = ask(folder, verb="delete", jobs=jobs)
    for job in jobs:
        if job in missing:
            sys.stderr.write(f"ERROR:  invalid job specified ({job})\n")
        else:
            print(f"\njob '{job}' {'signalled' if arguments[0] == '-N' else 'cancelled'}\n")
    return 1 if missing else 0


COMMANDS = {"msub": msub, "showq": showq, "mjobctl": mjobctl}
