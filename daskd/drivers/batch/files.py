"""The owner's files, handled by nobody but the owner: in this process, or by one that runs as that user."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from daskd.drivers import payload
from daskd.model.identity import Identity

from . import folder
from .folder import Refusal
from .pace import Lane
from .runner import NotNow, NotRun, Runner, Unanswered

TIMEOUT_S = 30.0
_LANES = {"records": Lane.LOOK, "read_log": Lane.READ}
_MODULES = (("local", "files"), ("local", "logs"), ("batch", "folder"))


def lane_of(verb: str) -> Lane:
    """Whose turn a question takes."""
    return _LANES.get(verb, Lane.ACT)


class FilesFailed(OSError):
    """Files could not be reached as their owner; that says nothing of what they hold.

    Attributes
    ----------
    may_pass
        It may be otherwise soon.
    """

    def __init__(self, words: str, *, may_pass: bool = False) -> None:
        super().__init__(words)
        self.may_pass = may_pass


class Files(Protocol):
    """What one owner's jobs need, and leave, in files."""

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The answer of one of `folder`'s verbs.

        Raises
        ------
        Refusal
            When the owner can't do it.
        FilesFailed
            When it could not be asked.
        """


class FilesHere:
    """Those on this machine.

    Parameters
    ----------
    runner
        Runs a program as the owner.
    """

    def __init__(self, who: Identity, runner: Runner) -> None:
        self._runner = runner
        self._is_own = who.uid == os.geteuid()

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The answer of one of `folder`'s verbs."""
        if self._is_own:
            return await asyncio.to_thread(folder.VERBS[verb], arguments)
        return await self._ask_as_owner({"verb": verb, **arguments}, lane_of(verb))

    async def _ask_as_owner(self, request: Mapping[str, Any], lane: Lane) -> dict[str, Any]:
        argv = [sys.executable, "-I", "-S", "-c", payload.LOADER]
        try:
            sent = payload.packed(_MODULES, request).encode()
            done = await self._runner.run(argv, sent, timeout=TIMEOUT_S, lane=lane)
            answer = json.loads(done.out)
        except (NotRun, Unanswered) as error:
            raise FilesFailed(str(error), may_pass=isinstance(error, (NotNow, Unanswered))) from error
        except (ValueError, RecursionError) as error:
            raise FilesFailed(f"the owner's files could not be read: {done.words}") from error
        if isinstance(answer, dict) and "refused" in answer:
            raise Refusal(str(answer["refused"])[:1000])
        if not isinstance(answer, dict) or not isinstance(answer.get("answer"), dict):
            raise FilesFailed("the owner's process answered something else")
        return dict(answer["answer"])
