"""The command lines of the double of PBS, and of Torque's: ``python double_pbs.py DIALECT FOLDER COMMAND ARGUMENT...``

What they print has the form of the systems' own. Standard library alone; no code of daskd.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

UNKNOWN = 153


def ask(folder: Path, **request: Any) -> Any:
    """What the server answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "socket"))
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        return json.loads(b"".join(iter(lambda: connection.recv(65_536), b"")))


def value_of(arguments: list[str], name: str) -> str:
    """What stands after an option; empty without it."""
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def qsub(dialect: str, folder: Path, arguments: list[str]) -> int:
    """Submit what comes on standard input."""
    members = value_of(arguments, "-J" if dialect == "pbs" else "-t")
    first, _, last = members.partition("-")
    if dialect == "pbs" and members and int(first) >= int(last):
        sys.stderr.write("qsub: illegal -J value\n")
        return 2
    indexes = list(range(int(first), int(last) + 1)) if members else None
    answer = ask(folder, verb="submit", name=value_of(arguments, "-N"), indexes=indexes, text=sys.stdin.read())
    if "refused" in answer:
        sys.stderr.write(f"qsub: {answer['refused']}\n")
        return 1
    print(answer["id"])
    return 0


def wrapped(line: str) -> str:
    """A line as qstat cuts it."""
    parts = [line[:79], *(line[at : at + 70] for at in range(79, len(line), 70))]
    return "\n\t".join(part for part in parts if part)


def shown(dialect: str, job: dict[str, Any]) -> str:
    """One job as `qstat -f` writes it."""
    state = "F" if job["state"] == "C" and dialect == "pbs" else job["state"]
    fields = {
        "Job_Name": job["name"],
        "Job_Owner": f"{job['owner']}@double",
        "job_state": state,
        "comment": job["comment"],
    }
    if job["used"] is not None:
        fields |= {
            "exec_host": "node1/0",
            "resources_used.walltime": f"00:{job['used'] // 60:02}:{job['used'] % 60:02}",
        }
    if job["walltime"]:
        fields["Resource_List.walltime"] = job["walltime"]
    if job["status"] is not None:
        fields["Exit_status" if dialect == "pbs" else "exit_status"] = str(job["status"])
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


def qsig(dialect: str, folder: Path, arguments: list[str]) -> int:
    """Signal jobs."""
    number = int(signal.Signals[f"SIG{arguments[1]}"])
    return told("qsig", ask(folder, verb="signal", jobs=arguments[2:], number=number))


def qdel(dialect: str, folder: Path, arguments: list[str]) -> int:
    """End jobs."""
    return told("qdel", ask(folder, verb="delete", jobs=arguments))


COMMANDS = {"qsub": qsub, "qstat": qstat, "qsig": qsig, "qdel": qdel}

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[3]](sys.argv[1], Path(sys.argv[2]), sys.argv[4:]))
