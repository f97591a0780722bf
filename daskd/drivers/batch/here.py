"""Commands of this machine, run as the owner of the clusters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from daskd.drivers.local import owner
from daskd.drivers.local.become import NOT_EXECUTED
from daskd.drivers.local.variables import SYSTEM_PATH
from daskd.model.identity import Identity

from .runner import Account, Done, NotRun, Unanswered

MOST_OUTPUT = 64 << 20
MOST_ERRORS = 64 << 10


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
        self._session: owner.Service | None = None
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

    async def run(self, argv: Sequence[str], stdin: bytes, *, timeout: float, submits: bool) -> Done:
        """Run a command to its end."""
        command = [self.found(argv[0]), *argv[1:]]
        try:
            if submits:
                return await self._submit(command, stdin, timeout)
            return await self._exchanged(command, stdin, timeout, await self._as_owner())
        except (asyncio.TimeoutError, TimeoutError):
            raise Unanswered(f"{argv[0]} did not answer within {timeout:g} s") from None

    async def _submit(self, command: list[str], stdin: bytes, timeout: float) -> Done:
        with owner.Report() as report:
            begun = await asyncio.to_thread(self._submitting, command, report)
            done = await self._exchanged(begun, stdin, timeout, {"pass_fds": (report.descriptor,)})
            report.handed_over()
            if done.code == NOT_EXECUTED and (words := report.words(0.0)):
                raise NotRun(f"nothing can be submitted as {self._who.name}: {words}")
            return done

    def _submitting(self, command: list[str], report: owner.Report) -> list[str]:
        if not self._is_other:
            return owner.command(command, report, parent=os.getpid())
        if self._session is None:
            self._session = owner.session_service()
        return owner.command_as(self._who, command, self._session, report, parent=os.getpid())

    async def _exchanged(self, command: Sequence[str], stdin: bytes, timeout: float, how: Mapping[str, Any]) -> Done:
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
                **how,
            )
        except OSError as error:
            raise NotRun(f"{command[0]} can't be run as {self._who.name}: {error.strerror}") from error
        try:
            out, err = await asyncio.wait_for(_exchange(process, stdin), timeout)
            return Done(await process.wait(), out, err)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()

    async def close(self) -> None:
        """Nothing is held open."""

    async def _as_owner(self) -> dict[str, Any]:
        if not self._is_other:
            return {}
        group, groups = await asyncio.to_thread(owner.groups_of, self._who)
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
