"""The one place where errors become words on stderr and an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import IO, Any

import click

from daskd_client import (
    ClusterFailed,
    DaemonUnavailable,
    DaskdError,
    InvalidAddress,
    UntrustedDaemon,
)


class WaitOver(DaskdError):
    """What was waited for did not come about in the time given; the daemon goes on with it."""

    reason = "WAIT_OVER"


class Failure(click.ClickException):
    """An error on its way out: words for stderr and, by its class, an exit code."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the words, if there are any, to stderr."""
        if self.message:
            click.echo(f"daskctl: {self.message}", file=file or sys.stderr)


class Refused(Failure):
    """The daemon said no, or what was waited for can't happen any more."""

    exit_code = 1


class Misused(Failure):
    """The command line is wrong."""

    exit_code = 2


class Unreachable(Failure):
    """The daemon can't be reached."""

    exit_code = 3


class Interrupted(Failure):
    """Ctrl-C; the code is what shells have for it."""

    exit_code = 128 + signal.SIGINT


class Unread(Failure):
    """Whoever read the output went away; the code is what shells have for it."""

    exit_code = 128 + signal.SIGPIPE


def failure(error: DaskdError) -> Failure:
    """An error of the API as words and an exit code."""
    if isinstance(error, InvalidAddress):
        return Misused(error.message)
    if isinstance(error, (DaemonUnavailable, UntrustedDaemon)):
        return Unreachable(error.message)
    return Refused("\n".join(_words(error)))


def _words(error: DaskdError) -> list[str]:
    lines = [error.message]
    problems = [f"  {problem.field}: {problem.words}" for problem in error.problems]
    if not all(problem.words in error.message for problem in error.problems):
        lines += problems
    elif len(problems) > 1:
        # The message strings them together; a line each is easier to mend by.
        lines = [f"{len(problems)} things are wrong:", *problems]
    if isinstance(error, ClusterFailed):
        tail = [f"  {line}" for line in error.log_tail if line not in error.message]
        lines += ["The last lines of its log:", *tail] if tail else []
    return lines


def execute(command: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end.

    Raises
    ------
    Failure
        With the words and the exit code of whatever went wrong.
    """
    try:
        asyncio.run(command)
        sys.stdout.flush()
    except DaskdError as error:
        raise failure(error) from error
    except KeyboardInterrupt:
        raise Interrupted("") from None
    except BrokenPipeError:
        _leave_stdout()
        raise Unread("") from None


def _leave_stdout() -> None:
    # The interpreter flushes stdout as it ends; what is left in its buffer has nowhere to go and no one to tell.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
