"""What a login node does for the daemon: run a command of the batch system, look after the user's files.

The daemon sends this file, with those that it imports, to the login node's Python for every question, for nothing of
daskd is installed there. Standard library alone. It begins once all of it has arrived and its digest is right: a
connection that breaks on the way has run nothing, and no half of a script is submitted. The answer is written behind a
line that bears the request's nonce, for a login may print what it likes.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ..local.variables import SYSTEM_PATH
from . import folder

MOST_OUTPUT = 24 << 20
NOT_FOUND = "there is no command {!r} in {} of the login node: set `bin` of the driver"


def account() -> dict[str, Any]:
    """Who this is here."""
    who = pwd.getpwuid(os.geteuid())
    return {"name": who.pw_name, "home": who.pw_dir}


def environment(request: Mapping[str, Any]) -> dict[str, str]:
    """What a command gets to see: what a login has, and what the daemon says."""
    who, bin_folder = pwd.getpwuid(os.geteuid()), request["bin"]
    return {
        "HOME": who.pw_dir,
        "USER": who.pw_name,
        "LOGNAME": who.pw_name,
        "SHELL": who.pw_shell or "/bin/sh",
        "LANG": "C.UTF-8",
        "PATH": f"{bin_folder}:{SYSTEM_PATH}" if bin_folder else SYSTEM_PATH,
        **request["variables"],
    }


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command to its end: `code`, `out`, `err`; else `not_run` or `unanswered`, and why."""
    env, (command, *arguments) = environment(request), request["argv"]
    program = next((path for path in candidates(command, env["PATH"]) if os.access(path, os.X_OK)), None)
    if program is None:
        return {"not_run": NOT_FOUND.format(command, env["PATH"])}
    try:
        done = subprocess.run(
            [program, *arguments],
            input=request["stdin"].encode(),
            capture_output=True,
            env=env,
            cwd="/",
            umask=0o022,
            start_new_session=True,
            timeout=request["timeout"],
            check=False,
        )
    except OSError as error:
        return {"not_run": f"{program} can't be run: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"unanswered": f"{command} did not answer within {request['timeout']:g} s"}
    if len(done.stdout) > MOST_OUTPUT:
        return {"unanswered": f"{command} wrote more than {MOST_OUTPUT} bytes"}
    out, err = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr[-65_536:]))
    return {"code": done.returncode, "out": out, "err": err}


def candidates(command: str, path: str) -> list[str]:
    """Where a command may lie."""
    return [os.path.join(directory, command) for directory in path.split(":")]


def files(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of one of `folder`'s verbs; else `refused` or `failed`, and why."""
    try:
        return {"done": folder.VERBS[request["question"]](request["arguments"])}
    except folder.Refusal as refusal:
        return {"refused": str(refusal)}
    except OSError as error:
        return {"failed": str(error)}


def main(request: Mapping[str, Any]) -> None:
    """Answer one request on standard output."""
    os.umask(0o077)
    verbs = {"account": lambda _request: account(), "run": run, "files": files}
    answer = {"answer": verbs[request["verb"]](request)}
    # JSON can hold halves of characters, which nothing else takes
    text = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(b"\n%s %d\n%s" % (request["nonce"].encode(), len(text), text))
    sys.stdout.buffer.flush()
