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

REFUSED = 1
"""The daemon said no, or what was waited for can't happen any more."""
USAGE = 2
"""The command line is wrong."""
UNREACHABLE = 3
"""The daemon can't be reached."""
INTERRUPTED = 128 + signal.SIGINT
"""Ctrl-C, as shells have it."""
BROKEN_PIPE = 128 + signal.SIGPIPE
"""Whoever read the output went away, as shells have it."""


class WaitOver(DaskdError):
    """What was waited for did not come about in the time given; the daemon goes on with it."""

    reason = "WAIT_OVER"


class Failure(click.ClickException):
    """An error on its way out: words for stderr and an exit code."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the words, if there are any, to stderr."""
        if self.message:
            click.echo(f"daskctl: {self.message}", file=file or sys.stderr)


def failure(error: DaskdError) -> Failure:
    """An error of the API as words and an exit code."""
    if isinstance(error, InvalidAddress):
        return Failure(error.message, USAGE)
    if isinstance(error, (DaemonUnavailable, UntrustedDaemon)):
        return Failure(error.message, UNREACHABLE)
    return Failure("\n".join(_words(error)), REFUSED)


def _words(error: DaskdError) -> list[str]:
    lines = [error.message, *(f"  {problem.field}: {problem.words}" for problem in error.problems)]
    if isinstance(error, ClusterFailed) and error.log_tail:
        lines += ["The last lines of its log:", *(f"  {line}" for line in error.log_tail)]
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
        raise Failure("", INTERRUPTED) from None
    except BrokenPipeError:
        _leave_stdout()
        raise Failure("", BROKEN_PIPE) from None


def _leave_stdout() -> None:
    # The interpreter flushes stdout as it ends; what is left in its buffer has nowhere to go and no one to tell.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
