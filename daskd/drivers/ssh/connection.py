"""The connection with one host: kept, and made anew when it broke."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import structlog

from daskd.model.identity import Identity

from . import program
from .endpoint import INSECURE, SSH_PORT, Endpoint

log = structlog.get_logger(__name__)

CONNECT_S = 10.0
"""Until a connection is made and the login done."""

ALIVE_EVERY_S = 5.0
ALIVE_MISSED = 3
SESSIONS = 6
"""Questions to one host at the same time; OpenSSH's servers take ten sessions a connection."""

MOST_ANSWER = 32 << 20
MOST_ERRORS = 64 << 10
FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 30.0

_GLOBAL_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_SHELL_WORDS = {
    126: "its Python {python!r} can't be executed: name another by the option `python`",
    127: "it has no Python {python!r}: name one by the option `python`",
    program.EXIT_DAMAGED: "what was sent arrived damaged",
    program.EXIT_OLD_PYTHON: "its Python {python!r} is older than 3.10: name another by the option `python`",
}


class Down(Exception):
    """A host is not reached, and nothing was asked of it; the text says since when and why."""


class Unanswered(Exception):
    """A host was asked, and whether it did anything is not known; the text says what happened."""


class Refused(Exception):
    """A host answered that it can't do what it was asked; the text says why and what to do."""


def pause(failures: int, host: str) -> float:
    """Seconds until the next attempt after so many failures in a row: 1 doubling to 30, less up to a quarter."""
    full: float = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return full * (1 - 0.25 * zlib.crc32(f"{host}:{failures}".encode()) / 0xFFFFFFFF)


class Connection:
    """One host as one user reaches it.

    Parameters
    ----------
    endpoint
        How.
    who
        Whose keys and configuration.
    through
        The connection with the jump host, if there is one.
    """

    def __init__(self, endpoint: Endpoint, who: Identity, through: Connection | None = None) -> None:
        self._endpoint = endpoint
        self._who = who
        self._through = through
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._open: asyncssh.SSHClientConnection | None = None
        self._connecting: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._failures = 0
        self._since = 0.0
        self._retry_at = 0.0
        self._words = ""

    @property
    def trouble(self) -> str:
        """Since when and why the host is not reached; empty when it is, or was not tried."""
        return f"down since {_clock(self._since)}: {self._words}" if self._since else ""

    def drop(self) -> None:
        """Break the connection, and with it what is still under way; the next question makes it anew."""
        if self._open is not None:
            self._open.abort()

    async def close(self) -> None:
        """Hang up."""
        if self._connecting is not None:
            self._connecting.cancel()
        self.drop()

    async def ask(
        self, python: str, request: Mapping[str, Any], timeout: float, modules: program.Modules = program.MODULES
    ) -> dict[str, Any]:
        """The answer to one request.

        Parameters
        ----------
        timeout
            Seconds from when the connection stands.
        modules
            The program that answers it.

        Raises
        ------
        Down, Unanswered, Refused
            As they say.
        """
        async with self._sessions:
            connection = await self.connected()
            try:
                answer = await asyncio.wait_for(_exchange(connection, python, request, modules), timeout)
            except (asyncio.TimeoutError, TimeoutError):
                raise Unanswered(f"no answer within {timeout:g} s") from None
            except (asyncssh.Error, OSError, program.Unreadable) as error:
                raise Unanswered(str(error) or type(error).__name__) from error
        if "refused" in answer:
            raise Refused(str(answer["refused"])[:1000])
        return dict(answer["answer"])

    async def connected(self) -> asyncssh.SSHClientConnection:
        """The connection, made if there is none and it is time to try.

        Raises
        ------
        Down
            When there is none.
        """
        if self._open is not None and not self._open.is_closed():
            return self._open
        if self._connecting is None:
            if time.monotonic() < self._retry_at:
                raise Down(self.trouble)
            self._connecting = asyncio.create_task(self._connect(), name=f"connecting with {self._endpoint.name}")
            self._connecting.add_done_callback(_over)
        connecting = self._connecting
        # one attempt for all who wait for it, whoever of them gives up
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                raise Down("the connection is being closed") from None
            raise

    async def _connect(self) -> asyncssh.SSHClientConnection:
        try:
            tunnel = await self._through.connected() if self._through else None
            self._open = await self._log_in(tunnel)
        except Down as down:
            raise self._failed(f"through its jump host, which is {down}") from down
        except Exception as error:  # what one host, key or configuration makes the library raise is no other's matter
            raise self._failed(self._explained(error)) from error
        finally:
            self._connecting = None
        if self._since:
            log.info("a host is reached again", host=self._endpoint.name)
        self._failures, self._since, self._words = 0, 0.0, ""
        return self._open

    def _failed(self, words: str) -> Down:
        self._failures += 1
        self._words = words
        self._retry_at = time.monotonic() + pause(self._failures, self._endpoint.host)
        if not self._since:
            self._since = time.time()
            log.warning("a host is not reached", host=self._endpoint.name, trouble=words)
        return Down(self.trouble)

    async def _log_in(self, tunnel: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
        endpoint = self._endpoint
        config = self._file("~/.ssh/config")
        keys: Any = [str(self._file(endpoint.key))] if endpoint.key else ()
        return await asyncssh.connect(
            endpoint.host,
            # () is "as the owner's ~/.ssh/config has it"
            () if endpoint.port == SSH_PORT else endpoint.port,
            username=endpoint.username or (),
            config=[str(config)] if await asyncio.to_thread(config.is_file) else None,
            known_hosts=await asyncio.to_thread(self._known_hosts),
            client_keys=keys,
            agent_path=None if endpoint.key else (),
            tunnel=tunnel or (),
            preferred_auth=("publickey",),
            connect_timeout=CONNECT_S,
            keepalive_interval=ALIVE_EVERY_S,
            keepalive_count_max=ALIVE_MISSED,
        )

    def _known_hosts(self) -> bytes | None:
        if self._endpoint.known_hosts == INSECURE:
            return None
        if self._endpoint.known_hosts:
            return self._file(self._endpoint.known_hosts).read_bytes() + b"\n"
        # never empty, which would stand for some default
        return b"\n".join(
            path.read_bytes() if path.is_file() else b""
            for path in (self._file("~/.ssh/known_hosts"), _GLOBAL_KNOWN_HOSTS)
        )

    def _file(self, path: str) -> Path:
        return Path(self._who.home, path[2:]) if path.startswith("~/") else Path(path)

    def _explained(self, error: Exception) -> str:
        endpoint = self._endpoint
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            where = endpoint.known_hosts or "~/.ssh/known_hosts"
            return f"its host key is not the one in {where}, or not there: check it, as by `ssh {endpoint.host}` once"
        if isinstance(error, asyncssh.PermissionDenied):
            name = endpoint.username or self._who.name
            key = endpoint.key or "those in ~/.ssh and of the agent"
            return f"it lets {name} not in with the key: {key}"
        if isinstance(error, (asyncssh.KeyEncryptionError, asyncssh.KeyImportError)):
            return f"the key {endpoint.key} can't be used: {error}; one with a passphrase needs an agent"
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)) and not getattr(error, "errno", None):
            return f"no answer within {CONNECT_S:g} s"
        if isinstance(error, OSError) and error.filename:
            return f"{error.filename} can't be read: {error.strerror}"
        return str(getattr(error, "strerror", None) or error) or type(error).__name__


async def _exchange(
    connection: asyncssh.SSHClientConnection, python: str, request: Mapping[str, Any], modules: program.Modules
) -> dict[str, Any]:
    nonce = program.new_nonce()
    # nothing of the daemon's own environment goes along
    process = await connection.create_process(program.command(python), encoding=None, env={}, send_env=[])
    try:
        _, output, errors = await asyncio.gather(
            _send(process, program.encode(request, nonce, modules)),
            _read(process.stdout, MOST_ANSWER),
            _read(process.stderr, MOST_ERRORS),
        )
        await process.wait_closed()
    finally:
        process.close()
    if words := _SHELL_WORDS.get(process.exit_status or 0):
        return {"refused": words.format(python=python)}
    try:
        return program.decode(output, nonce)
    except program.Unreadable as error:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise program.Unreadable(": ".join([str(error), *last])[:1000]) from error


async def _send(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    # what ends before it has read all says why in its exit code
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.write_eof()


async def _read(stream: asyncssh.SSHReader[bytes], most: int) -> bytes:
    parts, size = [], 0
    while part := await stream.read(65_536):
        size += len(part)
        if size > most:
            raise program.Unreadable(f"it wrote more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _over(task: asyncio.Task[asyncssh.SSHClientConnection]) -> None:
    # its failure is kept in words, for those who gave up waiting, too
    if not task.cancelled():
        task.exception()


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))
