"""The commands of a batch system: where they are run, and how many a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .pace import Lane, Pace


class NotRun(Exception):
    """A command was not started, so nothing happened; the text says why and what to do."""


class NotNow(NotRun):
    """It was not started for a reason that may be over soon."""


class Unanswered(Exception):
    """A command was started, and whether it did anything is not known; the text says what happened."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Why it failed: what it said last, else its exit code."""
        return (self.err.strip() or self.out.strip() or f"exit code {self.code}")[-1000:]


@dataclass(frozen=True, slots=True)
class Account:
    """Who the owner is where the commands are run."""

    name: str
    home: str


class Machine(Protocol):
    """Where commands are run: this machine, or a login node."""

    async def account(self) -> Account:
        """The owner there.

        Raises
        ------
        NotRun
            When it can't be known (now).
        """

    async def run(self, argv: Sequence[str], stdin: bytes, *, timeout: float, submits: bool) -> Done:
        """Run a command to its end, as `Runner.run` says.

        Raises
        ------
        NotRun, Unanswered
            As they say.
        """

    async def close(self) -> None:
        """Let go of it; what runs there goes on."""


class Runner:
    """Runs one user's commands on one machine, in turn.

    Parameters
    ----------
    per_minute
        How many commands are run a minute at most; a few are run at once after a rest.
    """

    def __init__(self, machine: Machine, per_minute: int) -> None:
        self._machine = machine
        self._pace = Pace(per_minute)

    async def account(self) -> Account:
        """The owner, where commands are run.

        Raises
        ------
        NotRun
            When it can't be known (now).
        """
        return await self._machine.account()

    async def run(
        self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float, lane: Lane, submits: bool = False
    ) -> Done:
        """Run a command to its end.

        Parameters
        ----------
        timeout
            Seconds for which its turn is waited for, and after which it is killed.
        lane
            What it is for.
        submits
            It begins something of the owner's. On this machine it is then in a session of that user's, as if typed
            after a login: PAM may refuse. And it is killed should this daemon die: what it would do later must not
            surprise the next one; on a login node it is killed after `timeout`, whoever has died. What looks or ends
            is asked often, so it costs less, and must work for whom PAM refuses, too.

        Raises
        ------
        NotRun, Unanswered
            As they say.
        """
        await self.turn(lane, timeout)
        return await self._machine.run(argv, stdin, timeout=timeout, submits=submits)

    async def turn(self, lane: Lane, timeout: float) -> None:
        """Wait for one's turn.

        Raises
        ------
        NotNow
            When it does not come within so many seconds.
        """
        try:
            await asyncio.wait_for(self._pace.turn(lane), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"more commands are wanted than `per_minute` allows: its turn did not come within {timeout:g} s"
            raise NotNow(words) from None

    async def close(self) -> None:
        """Let go of the machine."""
        await self._machine.close()
