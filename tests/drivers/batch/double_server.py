"""The server of a double: jobs that are local processes. ``python double_server.py FOLDER``

It keeps what a batch system does of jobs (queue, hold, pause, signals, deletion with a delay, limits, ends) and answers
the commands of its dialect (`double_command.py`) at a socket in FOLDER, in JSON. Its jobs die with it. Standard library
alone; no code of daskd.
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUEUE = "main"
"""The one there is."""

KILL_DELAY_S = 15.0
SHOWN_S = 0.05
"""So often it is looked whether a job runs: it is said to once what it started listens to TERM."""

MOST_BYTES = 8 << 20


@dataclass
class Job:
    """One job, or one member of an array.

    Attributes
    ----------
    array
        What was submitted together has the same.
    state
        Queued, held, running, paused, ending or complete: Q, H, R, S, E, C.
    status
        What wait() told; None while it has not ended, and of what was never started.
    why
        What the server ended it for: "deleted" or "limit".
    asked
        What its commands are to tell of it, as it was submitted.
    limit
        Seconds that it may run, which is told alone; 0: for ever.
    """

    id: str
    array: int
    name: str
    index: int
    script: str
    owner: int
    variables: dict[str, str]
    asked: dict[str, str]
    limit: float
    state: str = "Q"
    status: int | None = None
    why: str = ""
    submitted: float = field(default_factory=time.time)
    began: float | None = None
    process: asyncio.subprocess.Process | None = None

    def told(self) -> dict[str, Any]:
        """What its system says of it."""
        names = ("id", "array", "name", "index", "state", "status", "why", "asked", "submitted", "began", "limit")
        used = None if self.began is None else int(time.time() - self.began)
        facts = {name: getattr(self, name) for name in names}
        return {**facts, "used": used, "owner": pwd.getpwuid(self.owner).pw_name}


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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def do_submit(
        self,
        name: str,
        indexes: Sequence[int],
        text: str,
        form: str,
        variables: dict[str, str],
        owner: int,
        asked: dict[str, str],
        limit: float = 0.0,
        held: bool = False,
    ) -> dict[str, Any]:
        """Take a job, or an array, of that user.

        Parameters
        ----------
        form, variables
            Of `number`, that of the whole, `serial`, a member's own, and `index`: ids, and what is in the environment.
        """
        if asked.get("queue", QUEUE) != QUEUE:
            return {"refused": "queue"}
        number = self.number + 1
        self.number += len(indexes) if "{serial}" in form else 1
        script = self.folder / "spool" / f"{number}.sh"
        script.write_text(text)
        ids = []
        for serial, index in enumerate(indexes, number):
            facts = {"number": number, "serial": serial, "index": index}
            env = {key: value.format(**facts) for key, value in variables.items()}
            ids.append(form.format(**facts))
            job = Job(ids[-1], number, name, index, str(script), owner, env, dict(asked), limit)
            self.jobs[job.id] = job
            if held:
                job.state = "H"
                continue
            task = asyncio.get_running_loop().create_task(self.run(job))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        return {"ids": ids, "number": number}

    def do_list(self) -> list[dict[str, Any]]:
        """All jobs, ended ones too."""
        return [job.told() for job in self.jobs.values()]

    def do_signal(self, jobs: list[str], number: int, alone: bool = False) -> list[str]:
        """Signal all processes of jobs, or their first alone; those that do not run are told of."""
        missing = [of for of in jobs if of not in self.jobs or self.jobs[of].state not in "RE"]
        for of in set(jobs) - set(missing):
            self.signal(self.jobs[of], number, alone=alone)
        return missing

    def do_pause(self, jobs: list[str]) -> list[str]:
        """Stop what runs."""
        missing = self.do_signal(jobs, signal.SIGSTOP)
        for of in set(jobs) - set(missing):
            self.jobs[of].state = "S"
        return missing

    def do_expire(self, jobs: list[str], numbers: Sequence[int]) -> None:
        """Let the time of jobs be over, which are told by these signals."""
        for of in jobs:
            self.end(self.jobs[of], "limit", numbers)

    def do_delete(self, jobs: list[str], numbers: Sequence[int] = (signal.SIGTERM,)) -> list[str]:
        """End jobs, at first by these signals; those that there are no more are told of."""
        missing = [of for of in jobs if of not in self.jobs or self.jobs[of].state == "C"]
        for of in set(jobs) - set(missing):
            self.end(self.jobs[of], "deleted", numbers)
        return missing

    def end(self, job: Job, why: str, numbers: Sequence[int] = (signal.SIGTERM,)) -> None:
        """End a job that has not ended yet."""
        if job.state == "C":
            return
        job.why = job.why or why
        if job.process is None:
            job.state = "C"
            return
        job.state = "E"
        for number in numbers:
            self.signal(job, number)
        self.signal(job, signal.SIGCONT)
        asyncio.get_running_loop().call_later(KILL_DELAY_S, self.signal, job, signal.SIGKILL)

    def signal(self, job: Job, number: int, *, alone: bool = False) -> None:
        """Signal all of a job's session, or its first process."""
        pids = self.session(job)
        for pid in pids if not alone or job.process is None else {job.process.pid}.intersection(pids):
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
            env={**env, **job.variables, "DOUBLE": str(self.folder)},
            cwd="/",
            start_new_session=True,
        )
        if job.state == "C":  # it was deleted just now
            self.signal(job, signal.SIGKILL)
        asyncio.get_running_loop().call_later(SHOWN_S, self.show, job)
        code = await job.process.wait()
        job.status = -code if code < 0 else code << 8
        job.state = "C"


async def main(folder: Path) -> None:
    """Serve until killed."""
    server = Server(folder)
    os.umask(0o022)
    async with await asyncio.start_unix_server(server.answer, folder / "socket", limit=MOST_BYTES) as listening:
        (folder / "socket").chmod(0o777)
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
