"""The command lines of the double of PBS, and of Torque's. Standard library alone; no code of daskd."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from .double_client import ask, exit_code, header_of, seconds, value_of

UNKNOWN = 153
_LIMIT = {"pbs": -29, "torque": -11}
"""Exit status of what was ended for its walltime."""


def qsub(dialect: str, folder: Path, arguments: list[str]) -> int:
    """Submit what comes on standard input."""
    members = value_of(arguments, "-J" if dialect == "pbs" else "-t")
    first, _, last = members.partition("-")
    if dialect == "pbs" and members and int(first) >= int(last):
        sys.stderr.write("qsub: illegal -J value\n")
        return 2
    form = "{number}[{index}].double" if members else "{number}.double"
    variable = {"PBS_ARRAY_INDEX" if dialect == "pbs" else "PBS_ARRAYID": "{index}"} if members else {}
    text = sys.stdin.read()
    answer = ask(
        folder,
        verb="submit",
        name=value_of(arguments, "-N"),
        indexes=list(range(int(first), int(last) + 1)) if members else [0],
        text=text,
        form=form,
        variables={"PBS_JOBID": form, **variable},
        **asked_of(text),
    )
    if "refused" in answer:
        sys.stderr.write("qsub: Unknown queue MSG=cannot locate queue\n")
        return 1
    print(f"{answer['number']}[].double" if members else answer["ids"][0])
    return 0


def asked_of(script: str) -> dict[str, Any]:
    """What a script's header asks for, as the server takes it."""
    header = header_of(script, "PBS")
    walltime = next((word.partition("=")[2] for word in header if word.startswith("walltime=")), "")
    queue = value_of(header, "-q")
    asked = {"walltime": walltime} | ({"queue": queue} if queue else {})
    return {"asked": asked, "limit": seconds(walltime), "held": "-h" in header}


def wrapped(line: str) -> str:
    """A line as qstat cuts it."""
    parts = [line[:79], *(line[at : at + 70] for at in range(79, len(line), 70))]
    return "\n\t".join(part for part in parts if part)


def status_of(dialect: str, job: dict[str, Any]) -> str:
    """How a job ended; nothing of what was never started."""
    if job["status"] is None:
        return ""
    if job["why"] == "limit":
        return str(_LIMIT[dialect])
    code = exit_code(job["status"])
    return str(256 - code if code < 0 else code)


def shown(dialect: str, job: dict[str, Any]) -> str:
    """One job as `qstat -f` writes it."""
    state = "F" if job["state"] == "C" and dialect == "pbs" else job["state"]
    fields = {"Job_Name": job["name"], "Job_Owner": f"{job['owner']}@double", "job_state": state}
    if job["used"] is not None:
        fields |= {
            "exec_host": "node1/0",
            "resources_used.walltime": f"00:{job['used'] // 60:02}:{job['used'] % 60:02}",
        }
    fields["Resource_List.walltime"] = job["asked"]["walltime"]
    fields["Exit_status" if dialect == "pbs" else "exit_status"] = status_of(dialect, job)
    fields["Variable_List"] = "PBS_O_HOME=/root,PBS_O_PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games,PBS_O_MAIL=x"
    lines = [wrapped(f"    {name} = {value}") for name, value in fields.items() if value]
    return "\n".join([f"Job Id: {job['id']}", *lines, ""])


def qstat(dialect: str, folder: Path, arguments: list[str]) -> int:
    """List jobs; PBS' ended ones with -x alone."""
    jobs = ask(folder, verb="list")
    if dialect == "pbs" and "-x" not in arguments:
        jobs = [job for job in jobs if job["state"] != "C"]
    for job in jobs:
        print(shown(dialect, job))
    return 0


def told(command: str, missing: list[str]) -> int:
    """Complain of jobs that there are no more."""
    for job in missing:
        sys.stderr.write(f"{command}: Unknown Job Id {job}\n")
    return UNKNOWN if missing else 0


def qsig(folder: Path, arguments: list[str]) -> int:
    """Signal jobs."""
    number = int(signal.Signals[f"SIG{arguments[1]}"])
    return told("qsig", ask(folder, verb="signal", jobs=arguments[2:], number=number))


def qdel(folder: Path, arguments: list[str]) -> int:
    """End jobs."""
    return told("qdel", ask(folder, verb="delete", jobs=arguments))


PBS = {"qsub": partial(qsub, "pbs"), "qstat": partial(qstat, "pbs"), "qsig": qsig, "qdel": qdel}
TORQUE = {"qsub": partial(qsub, "torque"), "qstat": partial(qstat, "torque"), "qsig": qsig, "qdel": qdel}
