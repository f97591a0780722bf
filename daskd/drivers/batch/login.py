"""A login node, reached by SSH: commands are run there, and the user's files are there.

One connection is kept; `ssh/connection.py` makes it anew. What is asked is a program on the standard input of the
node's Python (`remote.py`), checked before any of it runs.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from typing import Any

import asyncssh
from pydantic import BaseModel, ConfigDict, ValidationError

from daskd.drivers.ssh.connection import Connection, Down, Refused
from daskd.drivers.ssh.connection import Unanswered as NoAnswer
from daskd.drivers.ssh.endpoint import DEFAULT_PYTHON, SSH_PORT, Endpoint
from daskd.drivers.ssh.hosts import jump_of
from daskd.drivers.ssh.options import LoginHost
from daskd.model.identity import Identity

from .files import TIMEOUT_S, FilesFailed, lane_of
from .folder import Refusal
from .runner import Account, Done, NotNow, NotRun, Runner, Unanswered

MARGIN_S = 5.0
"""How much longer an answer is waited for than what is asked may take there."""

MODULES = (("local", "files"), ("local", "variables"), ("local", "logs"), ("batch", "folder"), ("batch", "remote"))


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Account(_Answer):
    name: str
    home: str


class _Ran(_Answer):
    code: int = 0
    out: str = ""
    err: str = ""
    not_run: str = ""
    unanswered: str = ""


class _OfFiles(_Answer):
    done: dict[str, Any] | None = None
    refused: str = ""
    failed: str = ""


def endpoint_of(host: LoginHost, username: str) -> Endpoint:
    """How a login node is reached; `username` ("": as ~/.ssh/config has it) where the administrator fixes none."""
    return Endpoint(
        host=host.host,
        port=host.port or SSH_PORT,
        username=host.username or username,
        key=host.key or "",
        known_hosts=host.known_hosts or "",
        jump=host.jump or "",
        python=host.python or DEFAULT_PYTHON,
    )


def daemons_own() -> Identity:
    """The user whom the daemon runs as, for whose keys it is. Asks the name service."""
    found = pwd.getpwuid(os.geteuid())
    return Identity(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


class LoginNode:
    """Runs commands on a login node, as one user.

    Parameters
    ----------
    endpoint
        How it is reached, and as whom.
    daemon
        Whose keys and SSH configuration: the daemon's user.
    bin, variables
        As for commands of this machine.
    """

    def __init__(self, endpoint: Endpoint, daemon: Identity, bin: str, variables: Mapping[str, str]) -> None:  # noqa: A002
        # it tells of every channel, and a channel is a question
        asyncssh.set_log_level("WARNING")
        self._endpoint = endpoint
        self._through = Connection(jump_of(endpoint), daemon) if endpoint.jump else None
        self._connection = Connection(endpoint, daemon, self._through)
        self._bin = bin
        self._variables = dict(variables)
        self._account: Account | None = None

    async def account(self) -> Account:
        """The user there; asked once."""
        if self._account is None:
            try:
                found = _Account.model_validate(await self.ask({"verb": "account"}, TIMEOUT_S))
            except (Unanswered, ValidationError) as error:
                raise NotNow(f"the login node {self._endpoint.name} does not say who one is there: {error}") from error
            self._account = Account(found.name, found.home)
        return self._account

    async def run(self, argv: Sequence[str], stdin: bytes, *, timeout: float, submits: bool) -> Done:
        """Run a command to its end. One that was begun ends there after `timeout` at the latest."""
        request = {
            "verb": "run",
            "argv": list(argv),
            "stdin": stdin.decode(),
            "timeout": timeout,
            "bin": self._bin,
            "variables": self._variables,
        }
        try:
            ran = _Ran.model_validate(await self.ask(request, timeout + MARGIN_S))
        except ValidationError as error:
            raise Unanswered(f"the login node {self._endpoint.name} answers something else: {error}") from error
        if ran.not_run:
            raise NotRun(ran.not_run)
        if ran.unanswered:
            raise Unanswered(ran.unanswered)
        return Done(ran.code, ran.out, ran.err)

    async def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """What the node answers.

        Raises
        ------
        NotRun, Unanswered
            As they say.
        """
        name = self._endpoint.name
        try:
            return await self._connection.ask(self._endpoint.python, request, timeout, MODULES)
        except Down as down:
            raise NotNow(f"the login node {name} is {down}") from down
        except Refused as refused:
            raise NotRun(f"the login node {name}: {refused}") from refused
        except NoAnswer as error:
            raise Unanswered(f"the login node {name}: {error}") from error

    async def close(self) -> None:
        """Hang up."""
        await self._connection.close()
        if self._through is not None:
            await self._through.close()


class FilesAtLogin:
    """What one owner's jobs need, and leave, in files that a login node sees.

    Parameters
    ----------
    runner
        Whose turns are taken.
    """

    def __init__(self, node: LoginNode, runner: Runner) -> None:
        self._node = node
        self._runner = runner

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The answer of one of `folder`'s verbs."""
        try:
            await self._runner.turn(lane_of(verb), TIMEOUT_S)
            request = {"verb": "files", "question": verb, "arguments": arguments}
            answer = _OfFiles.model_validate(await self._node.ask(request, TIMEOUT_S))
        except (NotRun, Unanswered) as error:
            raise FilesFailed(str(error), may_pass=isinstance(error, (NotNow, Unanswered))) from error
        except ValidationError as error:
            raise FilesFailed(f"the login node answers something else: {error}") from error
        if answer.refused:
            raise Refusal(answer.refused[:1000])
        if answer.done is None:
            raise FilesFailed(f"the login node can't: {answer.failed[:1000]}")
        return answer.done
