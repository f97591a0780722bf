"""Runs a stage of CI: says how long it took, and fails when it leaves a process or a file behind.

    stage.py NAME COMMAND [ARGUMENT ...]

Whatever the command starts, sessions of their own or not, becomes this process's child when its parent ends, because
this process is a subreaper: so what is still a child after the command was left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_END = 30.0


def children() -> list[int]:
    """The living children of this process; ended ones are reaped on the way."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_child(entry)]


def is_child(process: Path) -> bool:
    """Whether this process is the parent of one of /proc."""
    with suppress(OSError):
        stat = (process / "stat").read_text()
        # what stands in parentheses is the process's own choice: state and parent come after the last one
        return int(stat[stat.rindex(")") + 2 :].split()[1]) == os.getpid()
    return False


def wait_for(command: subprocess.Popen[bytes]) -> int:
    """Wait for the command, and reap on the way what it orphaned, as an init would."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command.pid:
            command.returncode = os.waitstatus_to_exitcode(status)
            return command.returncode


def left_behind() -> list[str]:
    """The command lines of what has not ended in time; it is killed."""
    deadline = time.monotonic() + SECONDS_TO_END
    while children() and time.monotonic() < deadline:
        time.sleep(0.1)
    left = []
    while pids := children():
        for pid in pids:
            with suppress(OSError):
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                os.kill(pid, signal.SIGKILL)
        # the children of what was killed come to us, too
        time.sleep(0.1)
    return left


def untracked() -> set[str]:
    """What git sees changed or new in the work tree; nothing where this is no clone."""
    if not Path(".git").exists():
        return set()
    git = ["git", "-c", f"safe.directory={Path.cwd()}", "status", "--porcelain"]
    done = subprocess.run(git, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def main(name: str, *command: str) -> int:
    """Run the stage; answers with its exit code."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    files = untracked()
    print(f"==> {name}: {' '.join(command)}", flush=True)
    since = time.monotonic()
    code = wait_for(subprocess.Popen(command, stdin=subprocess.DEVNULL))
    took = time.monotonic() - since
    faults = [f"left running: {process}" for process in left_behind()]
    faults += [f"left in the work tree: {file}" for file in sorted(untracked() - files)]
    for fault in faults:
        print(f"==> {name}: {fault}", flush=True)
    print(f"==> {name}: {'passed' if not code and not faults else 'FAILED'} after {took:.0f} s", flush=True)
    return code or (1 if faults else 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
