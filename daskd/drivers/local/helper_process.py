"""The daemon's end of one owner's helper: starts it as that owner, asks it, lets it go when nobody asks."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

import daskd
from daskd.model.identity import Identity

from . import owner, wire

IDLE_S = 60.0
"""A helper that was asked nothing for so long is let go."""
END_S = 5.0
_BLOCK = 256 * 1024
_IN_THREAD = 64 * 1024
"""A longer answer is parsed in a thread, so that a flood holds up nobody else."""
_MOST_WORDS = 2000
_COMMAND = [sys.executable, "-s", "-m", "daskd.drivers.local.helper"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class HelperFailed(OSError):
    """The helper could not be started, or could not do what it was asked; that says nothing of what it was about."""


def start(who: Identity, connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start a helper as that user. Blocks.

    It has no session of that user's, and the limits of the daemon: what it is for, to look at what runs and to end it,
    must work for whom PAM refuses, too.

    Raises
    ------
    HelperFailed
        When it can't be, in words with the mend.
    """
    if who.uid == 0:
        raise HelperFailed("root has no helper")
    group, groups = owner.groups_of(who)
    try:
        return subprocess.Popen(
            _COMMAND,
            stdin=connection.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            user=who.uid,
            group=group,
            extra_groups=groups,
        )
    except OSError as error:
        raise HelperFailed(
            f"{sys.executable} can't be run as {who.name}: {error.strerror}. Install daskd where every user may read "
            "it, such as /opt/daskd"
        ) from error


def start_in_session(
    who: Identity,
    connection: socket.socket,
    *,
    session: owner.Service,
    placed: Callable[[list[str]], list[str]] = list,
) -> subprocess.Popen[bytes]:
    """Start a helper that launches: it, and so all that it starts, is in a session of that user's. Blocks.

    Parameters
    ----------
    placed
        What root executes to have a command run where it is to be.

    Raises
    ------
    OSError
        When it can't be; the words say why.
    """
    return owner.start_as(who, _COMMAND, session, stdin=connection.fileno(), env=_environment(), placed=placed)


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "PYTHONPATH": _search_path()}


def _search_path() -> str:
    """Where the helper finds this very daskd, if that is not where Python finds what is installed."""
    ours = str(Path(daskd.__file__).parents[1])
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    search = [] if ours in installed else [ours]
    if given := os.environ.get("PYTHONPATH"):
        search.append(given)
    return ":".join(search)


class _Running:
    """A helper that runs: its process, its socket, and who waits for which answer."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._sending = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen(), name="helper's answers")

    @property
    def is_over(self) -> bool:
        """Whether it answers no more."""
        return self._listening.done()

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    async def ask(self, operation: wire.Operation, arguments: object, links: Mapping[str, socket.socket]) -> Any:
        """One request, and its validated answer."""
        if self.is_over:
            raise HelperFailed("it ended")
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            line = wire.request(number, operation, arguments, tuple(links))
            await self._send(line, [link.fileno() for link in links.values()])
            document = await waiting
        finally:
            self._waiting.pop(number, None)
        if "error" in document:
            raise HelperFailed(str(document["error"])[:_MOST_WORDS])
        try:
            return operation.answer.validate_python(document.get("answer"))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise HelperFailed(f"it answered to {operation.name!r} what is no answer: {first['msg']}") from None

    async def _send(self, line: bytes, descriptors: list[int]) -> None:
        async with self._sending:
            try:
                if descriptors:
                    await self._send_descriptors(descriptors)
                await asyncio.get_running_loop().sock_sendall(self._connection, line)
            except ConnectionError:
                return  # it hung up: why, those who wait for answers are told
            except BaseException:
                # half a line may be on its way, and nothing that follows it would be understood
                self._hang_up()
                raise

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    async def _send_descriptors(self, descriptors: list[int]) -> None:
        while True:
            try:
                socket.send_fds(self._connection, [b"\n"], descriptors)
            except BlockingIOError:
                await self._writable()
            else:
                return

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._connection, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._connection)

    async def _listen(self) -> None:
        words = "it ended"
        try:
            await self._answers()
        except (OSError, ValueError, RecursionError) as error:
            words = str(error)
        finally:
            self._connection.close()
            await self._give_up(words)

    async def _answers(self) -> None:
        loop, data = asyncio.get_running_loop(), bytearray()
        while block := await loop.sock_recv(self._connection, _BLOCK):
            data += block
            if len(data) > wire.MOST_LINE:
                raise ValueError("it answered without end")
            if b"\n" in block:
                *lines, rest = bytes(data).split(b"\n")
                data = bytearray(rest)
                for line in lines:
                    in_thread = len(line) > _IN_THREAD
                    self._answered(await asyncio.to_thread(json.loads, line) if in_thread else json.loads(line))

    def _answered(self, document: Any) -> None:
        if not isinstance(document, dict) or not isinstance(document.get("id"), int):
            raise ValueError("it answered what is no answer")
        waiting = self._waiting.get(document["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(document)

    async def _give_up(self, words: str) -> None:
        said = await asyncio.to_thread(self._bury)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(HelperFailed(said or words))

    def _bury(self) -> str:
        """Wait for the process's end, hurried on if need be; answers with its last words."""
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            os.set_blocking(errors.fileno(), False)
            said = errors.read(64 * 1024) or b""
        return said.decode(errors="replace").strip().rpartition("\n")[2][:_MOST_WORDS]

    async def close(self) -> None:
        """Hang up, and wait until it has ended."""
        self._hang_up()
        await asyncio.wait({self._listening})


class HelperProcess:
    """An owner's helper, started when it is first asked, and again when it has ended.

    Parameters
    ----------
    who
        Whom it runs as.
    opening
        What it is told first.
    begin
        Starts it, its stdin that socket; blocks, raises OSError.
    """

    def __init__(
        self,
        who: Identity,
        opening: wire.Opening,
        begin: Callable[[Identity, socket.socket], subprocess.Popen[bytes]] = start,
    ) -> None:
        self._who = who
        self._opening = opening
        self._begin = begin
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def ask(
        self, operation: wire.Operation, arguments: object, links: Mapping[str, socket.socket] | None = None
    ) -> Any:
        """One request, and its validated answer.

        Parameters
        ----------
        links
            Sockets to hand over, by name.

        Raises
        ------
        HelperFailed
            When the helper can't be started, ends, or could not do it; the words say which.
        """
        running = await self._started()
        try:
            return await running.ask(operation, arguments, links or {})
        finally:
            self._rest_later()

    @property
    def is_running(self) -> bool:
        """Whether there is one that answers."""
        return self._running is not None and not self._running.is_over

    async def ready(self) -> None:
        """See that it runs and answers, and start it if not.

        Raises
        ------
        OSError
            When that can't be, so that nothing was asked; the words say why.
        """
        await self._started()
        self._rest_later()

    async def _started(self) -> _Running:
        async with self._starting:
            if self._running is None or self._running.is_over:
                self._running = await self._start()
            return self._running

    async def _start(self) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.to_thread(self._begin, self._who, theirs)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        running = _Running(process, ours)
        try:
            await running.ask(wire.OPEN, self._opening, {})
        except BaseException:
            await running.close()
            raise
        log.debug("helper started", user=self._who.name, helper=process.pid)
        return running

    def _rest_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._rest)

    def _rest(self) -> None:
        if self._running is None or self._running.is_asked:
            return
        task = asyncio.create_task(self._running.close(), name=f"end of the helper of {self._who.name}")
        self._running = None
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Let it go."""
        if self._idle is not None:
            self._idle.cancel()
        if self._running is not None:
            await self._running.close()
            self._running = None
        if self._closing:
            await asyncio.wait(self._closing)
