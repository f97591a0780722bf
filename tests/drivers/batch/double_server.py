"""The server of a double of PBS: jobs are processes of this machine. ``python double_server.py FOLDER VARIABLE``

It keeps what a batch system does of jobs (queue, hold, signals, deletion with a delay, ends) and answers its commands
(`double_pbs.py`) at a socket in FOLDER, in JSON. Its jobs die with it. Standard library alone; no code of daskd.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KILL_DELAY_S = 15.0
SHOWN_S = 0.05
"""So often it is looked whether a job runs: it is said to once what it started listens to TERM."""

MOST_BYTES = 8 << 20


@dataclass
class Job:
    """One job, or one member of an array."""

    id: str
    name: str
    index: int
    script: str
    owner: int
    state: str = "Q"
    status: int | None = None
    began: float | None = None
    process: asyncio.subprocess.Process | None = None
    asked: dict[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """What its system says of it."""
        used = None if self.began is None else int(time.time() - self.began)
        facts = {"id": self.id, "name": self.name, "state": self.state, "status": self.status, "used": used}
        return {
            **facts,
            "owner": pwd.getpwuid(self.owner).pw_name,
            "walltime": self.asked.get("walltime"),
            "comment": self.asked.get("comment", ""),
        }


def uid_of(peer: socket.socket) -> int:
    """Who is at the other end of a unix socket."""
    found: tuple[int, int, int] = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return found[1]


def as_user(uid: int) -> tuple[dict[str, str], list[str]]:
    """A login's environment, and what makes setpriv change to that user."""
    user = pwd.getpwuid(uid)
    env = {"PATH": os.defpath, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    change = [f"--reuid={uid}", f"--regid={user.pw_gid}", "--init-groups"]
    return env, change if uid != os.geteuid() else []


class Server:
    """All jobs there are."""

    def __init__(self, folder: Path, variable: str) -> None:
        self.folder = folder
        self.variable = variable
        self.jobs: dict[str, Job] = {}
        self.number = 0
        self.running: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one command."""
        request = json.loads(await reader.read(-1))
        verb = getattr(self, f"do_{request.pop('verb')}")
        if verb == self.do_submit:
            request["owner"] = uid_of(writer.get_extra_info("socket"))
        writer.write(json.dumps(verb(**request)).encode())
        writer.close()

    def do_submit(self, name: str, indexes: list[int] | None, text: str, owner: int) -> dict[str, Any]:
        """Take a job, or an array, of that user."""
        asked = dict(re.findall(r"^#PBS -l (walltime)=(\S+)$", text, re.MULTILINE))
        queue = re.search(r"^#PBS -q (\S+)$", text, re.MULTILINE)
        if queue is not None and queue[1] != "main":
            return {"refused": "Unknown queue MSG=cannot locate queue"}
        self.number += 1
        script = self.folder / "spool" / f"{self.number}.sh"
        script.write_text(text)
        for index in [None] if indexes is None else indexes:
            of = f"{self.number}.double" if index is None else f"{self.number}[{index}].double"
            job = self.jobs[of] = Job(of, name, index or 0, str(script), owner, asked=dict(asked))
            if re.search(r"^#PBS -h$", text, re.MULTILINE):
                job.state = "H"
            else:
                task = asyncio.get_running_loop().create_task(self.run(job))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
        return {"id": f"{self.number}.double" if indexes is None else f"{self.number}[].double"}

    def do_list(self) -> list[dict[str, Any]]:
        """All jobs, ended ones too."""
        return [job.told() for job in self.jobs.values()]

    def do_signal(self, jobs: list[str], number: int) -> list[str]:
        """Signal all processes of jobs; those that do not run are told of."""
        missing = [of for of in jobs if of not in self.jobs or self.jobs[of].state not in "RE"]
        for of in set(jobs) - set(missing):
            self.signal(self.jobs[of], number)
        return missing

    def do_delete(self, jobs: list[str]) -> list[str]:
        """End jobs; those that there are no more are told of."""
        missing = [of for of in jobs if of not in self.jobs or self.jobs[of].state == "C"]
        for of in set(jobs) - set(missing):
            job = self.jobs[of]
            if job.state in "QH" and job.process is None:
                job.state = "C"
                continue
            job.state = "E"
            self.signal(job, signal.SIGTERM)
            asyncio.get_running_loop().call_later(KILL_DELAY_S, self.signal, job, signal.SIGKILL)
        return missing

    def signal(self, job: Job, number: int) -> None:
        """Signal all of a job's session."""
        for pid in self.session(job):
            with suppress(OSError):
                os.kill(pid, number)

    def listens(self, job: Job) -> bool:
        """Whether a process beside the job's first one catches TERM."""
        assert job.process is not None
        for pid in set(self.session(job)) - {job.process.pid}:
            with suppress(OSError):
                caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
                if caught is not None and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
                    return True
        return False

    def session(self, job: Job) -> list[int]:
        """All processes of a job that runs."""
        found: list[int] = []
        if job.process is None or job.process.returncode is not None:
            return found
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                if os.getsid(pid) == job.process.pid:
                    found.append(pid)
        return found

    def show(self, job: Job) -> None:
        """Say that it runs, once it does."""
        if job.state == "Q" and self.listens(job):
            job.state = "R"
        elif job.state == "Q":
            asyncio.get_running_loop().call_later(SHOWN_S, self.show, job)

    async def run(self, job: Job) -> None:
        """Run a job to its end."""
        if job.state != "Q":
            return
        job.began = time.time()
        env, become = as_user(job.owner)
        env["PBS_JOBID"] = job.id
        if "[" in job.id:
            env[self.variable] = str(job.index)
        job.process = await asyncio.create_subprocess_exec(
            "setpriv",
            *become,
            # last, for a change of user forgets it
            "--pdeathsig",
            "KILL",
            "/bin/sh",
            job.script,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**env, "DOUBLE": str(self.folder)},
            cwd="/",
            start_new_session=True,
        )
        asyncio.get_running_loop().call_later(SHOWN_S, self.show, job)
        code = await job.process.wait()
        job.status = 256 - code if code < 0 else code
        job.state = "C"


async def main(folder: Path, variable: str) -> None:
    """Serve until killed."""
    server = Server(folder, variable)
    os.umask(0o022)
    async with await asyncio.start_unix_server(server.answer, folder / "socket", limit=MOST_BYTES) as listening:
        (folder / "socket").chmod(0o777)
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
