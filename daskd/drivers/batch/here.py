"""Commands of this machine, run as the owner of the clusters."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from daskd.drivers.local.helper_process import groups_of
from daskd.drivers.local.variables import SYSTEM_PATH
from daskd.model.identity import Identity

from .runner import Account, Done, NotRun, Unanswered

MOST_OUTPUT = 64 << 20
MOST_ERRORS = 64 << 10

_DIE_WITH = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(75)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A parent-death signal is forgotten with a change of user, so it is asked for afterwards, by the child itself."""


class Here:
    """Runs commands as one user, never through a shell, in an environment that is built.

    Parameters
    ----------
    who
        As whom; another than the daemon's own user only for a daemon that is root.
    bin
        The folder of the commands; empty: the system's search path.
    variables
        What the commands need beyond a login's environment.
    """

    def __init__(self, who: Identity, bin: str, variables: Mapping[str, str]) -> None:  # noqa: A002
        self._who = who
        self._is_other = who.uid != os.geteuid()
        self._environment = {
            "HOME": who.home,
            "USER": who.name,
            "LOGNAME": who.name,
            "SHELL": who.shell,
            "LANG": "C.UTF-8",
            "PATH": f"{bin}:{SYSTEM_PATH}" if bin else SYSTEM_PATH,
            **variables,
        }

    async def account(self) -> Account:
        """The owner."""
        return Account(self._who.name if self._who.is_known else str(self._who.uid), self._who.home)

    def found(self, command: str) -> str:
        """The path of a command.

        Raises
        ------
        NotRun
            When there is none.
        """
        for folder in self._environment["PATH"].split(":"):
            path = Path(folder, command)
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise NotRun(f"there is no command {command!r} in {self._environment['PATH']}: set `bin` of the driver")

    async def run(self, argv: Sequence[str], stdin: bytes, *, timeout: float, dies_with_daemon: bool) -> Done:
        """Run a command to its end."""
        command = [self.found(argv[0]), *argv[1:]]
        if dies_with_daemon:
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH, str(os.getpid()), *command]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd="/",
                env=self._environment,
                start_new_session=True,
                umask=0o022,
                **await self._as_owner(),
            )
        except OSError as error:
            raise NotRun(f"{command[0]} can't be run as {self._who.name}: {error.strerror}") from error
        try:
            out, err = await asyncio.wait_for(_exchange(process, stdin), timeout)
            return Done(await process.wait(), out, err)
        except (asyncio.TimeoutError, TimeoutError):
            raise Unanswered(f"{argv[0]} did not answer within {timeout:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()

    async def close(self) -> None:
        """Nothing is held open."""

    async def _as_owner(self) -> dict[str, Any]:
        if not self._is_other:
            return {}
        group, groups = await asyncio.to_thread(groups_of, self._who)
        return {"user": self._who.uid, "group": group, "extra_groups": groups}


async def _exchange(process: asyncio.subprocess.Process, stdin: bytes) -> tuple[str, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, err, _ = await asyncio.gather(
        _read(process.stdout, MOST_OUTPUT), _read(process.stderr, MOST_ERRORS), _send(process.stdin, stdin)
    )
    return out, err


async def _send(stream: asyncio.StreamWriter, data: bytes) -> None:
    # what ends before it has read all says why in its exit code
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read(stream: asyncio.StreamReader, most: int) -> str:
    parts, size = [], 0
    while part := await stream.read(65_536):
        size += len(part)
        if size > most:
            raise Unanswered(f"it wrote more than {most} bytes")
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
