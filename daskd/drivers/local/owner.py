"""A root daemon starts a process as the owner of a cluster: what that takes, and why it could not be."""

from __future__ import annotations

import json
import os
import pwd
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from daskd.model.identity import Identity

from . import become

SESSION_S = 30.0
"""How long PAM may take: its modules may ask a directory that does not answer."""

_PROGRAM = str(Path(become.__file__).resolve())
_PAM_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
_MOST_WORDS = 2000
_NOBODY = 65534

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class NotStarted(OSError):
    """A process could not be started as its owner, so nothing happened; the text says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """How a session is opened: by which of PAM's services, and whether that says who may.

    `name` empty: no session is opened, and what is started has the daemon's limits.
    """

    name: str
    account: bool


_SERVICES = (
    Service("daskd", account=True),
    # util-linux's, for what root runs as a user; it has no rules for accounts
    Service("runuser", account=False),
)
NO_SESSION = Service("", account=False)


def session_service(folders: Sequence[str] = _PAM_FOLDERS) -> Service:
    """How sessions are opened on this machine; told in the log where they can't be. Blocks."""
    for each in _SERVICES:
        if any(Path(folder, each.name).is_file() for folder in folders):
            return each
    log.warning(
        "users' clusters have the daemon's limits of resources, for this machine's PAM has no service for them: "
        "install /etc/pam.d/daskd"
    )
    return NO_SESSION


def groups_of(who: Identity) -> tuple[int, list[int]]:
    """The group and the supplementary groups of a user; a user whom the machine does not know has none. Blocks."""
    try:
        name = pwd.getpwuid(who.uid).pw_name
    except KeyError:
        return _NOBODY, []
    return who.gid, os.getgrouplist(name, who.gid)


class Report:
    """A pipe on which `become` says why it executed nothing; a context."""

    def __init__(self) -> None:
        self._reading, self.descriptor = os.pipe()

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        self.handed_over()
        os.close(self._reading)

    def handed_over(self) -> None:
        """The child has its end; this process lets go of it, and so learns when the child does."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def words(self, timeout: float) -> str:
        """Why nothing was executed; empty where it was. Blocks.

        Raises
        ------
        TimeoutError
            When that is not known after so many seconds.
        """
        deadline, said = time.monotonic() + timeout, b""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            more = os.read(self._reading, _MOST_WORDS)
            if not more or len(said) > _MOST_WORDS:
                return said.decode(errors="replace").strip()
            said += more
        raise TimeoutError


def command(argv: Sequence[str], report: Report, *, parent: int = 0) -> list[str]:
    """A command as it is, to be executed once it is sure to die with the process `parent`."""
    return _command(argv, {"uid": None, "parent": parent, "report": report.descriptor})


def command_as(who: Identity, argv: Sequence[str], session: Service, report: Report, *, parent: int = 0) -> list[str]:
    """The command with which root executes `argv` as a user, in a session of that user's; `argv[0]` is a path. Blocks.

    Parameters
    ----------
    report
        Its descriptor is to be passed on.
    parent
        The process to die with; 0: none.
    """
    group, groups = groups_of(who)
    request = {"name": who.name, "uid": who.uid, "gid": group, "groups": groups}
    request |= {"service": session.name, "account": session.account, "parent": parent, "report": report.descriptor}
    return _command(argv, request)


def _command(argv: Sequence[str], request: dict[str, object]) -> list[str]:
    return [sys.executable, "-I", "-S", _PROGRAM, json.dumps(request), *argv]


def start_as(
    who: Identity,
    argv: Sequence[str],
    session: Service,
    *,
    stdin: int,
    env: dict[str, str],
    placed: Callable[[list[str]], list[str]] = list,
) -> subprocess.Popen[bytes]:
    """Start a program as a user, in a session of that user's; its stderr is a pipe. Blocks up to `SESSION_S`.

    Parameters
    ----------
    placed
        What root executes to have a command run where it is to be.

    Raises
    ------
    NotStarted
        When PAM refuses, or the user can't execute it.
    """
    with Report() as report:
        try:
            process = subprocess.Popen(
                placed(command_as(who, argv, session, report)),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=env,
                start_new_session=True,
                pass_fds=(report.descriptor,),
            )
        except OSError as error:
            raise NotStarted(str(error)) from error
        report.handed_over()
        try:
            words = report.words(SESSION_S)
        except TimeoutError:
            words = f"PAM opened no session within {SESSION_S:g} s"
    if words:
        _bury(process)
        raise NotStarted(words)
    return process


def check(who: Identity, session: Service) -> None:
    """See that a session of that user's can be opened, and closed by the end of all that it holds. Blocks.

    Raises
    ------
    NotStarted
        When it can't be.
    """
    process = start_as(who, ["/bin/sh", "-c", ":"], session, stdin=subprocess.DEVNULL, env={"PATH": os.defpath})
    _bury(process, within=SESSION_S)


def _bury(process: subprocess.Popen[bytes], within: float = 0.0) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(within)
    if process.returncode is None:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()
