"""How a call is made: deadline, credentials, retries, the translation of errors. Each is written here, once.

gRPC's own asyncio layer is not used on purpose. It ties a channel to one event loop, and with older releases of grpcio
(1.62, seen) several loops in one process, such as a notebook's and those of synchronous cluster objects, make it log a
BlockingIOError at every other call. Its callback layer serves any loop; what follows bridges it to awaitables.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.config
import grpc

from daskd_api.v1 import daemon_pb2

from .address import Address
from .auth import Credentials
from .errors import DaemonUnavailable, DaskdError, InvalidArgument, Unauthenticated, Unimplemented, from_rpc
from .release import own_release, unknown_call

# A daemon that is started again is back within these, in seconds. One that never answered is given less: most likely
# there is none.
RETRY_FOR = 15.0
RETRY_FOR_AT_FIRST = 1.0

_LONGEST_PAUSE = 1.0  # seconds
_STREAM_BUFFER = 64  # answers

_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Notice within a minute that the far end of a quiet watch is gone (a laptop that slept, a firewall).
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


@dataclass(frozen=True)
class TLSFiles:
    """PEM files for a daemon that is reached over TCP.

    Attributes
    ----------
    ca
        Who signed its certificate; None: the system's authorities.
    certificate, key
        Our own, for a daemon that asks for one.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @classmethod
    def configured(cls) -> TLSFiles:
        """What Dask's configuration says."""
        return cls(
            ca=dask.config.get("daskd.tls-ca-file", None),
            certificate=dask.config.get("daskd.tls-client-cert-file", None),
            key=dask.config.get("daskd.tls-client-key-file", None),
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """What a channel is opened with.

        Raises
        ------
        InvalidArgument
            A file can't be read.
        """
        roots, certificate, key = (
            None if file is None else _read(file) for file in (self.ca, self.certificate, self.key)
        )
        return grpc.ssl_channel_credentials(roots, key, certificate)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"{file} can't be read: {error.strerror}. Dask's configuration names it, under daskd.tls-...",
            facts={"file": file},
        ) from error


def open_channel(address: Address, tls: TLSFiles | None = None) -> grpc.Channel:
    """A channel to the daemon: plain on this machine, unless an authority is named; by TLS to any other."""
    files = tls or TLSFiles()
    options = list(_OPTIONS)
    if address.socket is not None:
        # The default would be the percent-encoded path, which some servers refuse as a host.
        options.append(("grpc.default_authority", "localhost"))
        return grpc.insecure_channel(f"unix:{address.socket}", options)
    if address.is_loopback:
        # Whatever http_proxy says, this machine is reached without one.
        options.append(("grpc.enable_http_proxy", 0))
        if files.ca is None:
            return grpc.insecure_channel(str(address), options)
    return grpc.secure_channel(str(address), files.credentials(), options)


class Caller:
    """Makes calls to one daemon.

    Parameters
    ----------
    address
        Where it is.
    credentials
        Who calls.
    timeout
        Seconds that one call may take.
    about
        The stub's method ``GetDaemonInfo``, by which a daemon that does not know a call is asked for its release.
    """

    def __init__(self, address: Address, credentials: Credentials, timeout: float, about: Any) -> None:
        self._address = str(address)
        self._credentials = credentials
        self._timeout = timeout
        self._about = about
        self._reached = False

    async def call(self, method: Any, request: Any, *, retry: bool = True) -> Any:
        """Call `method` and return its answer.

        Parameters
        ----------
        method
            A stub's method with one answer.
        request
            Its message.
        retry
            Whether the call may be made twice: then a daemon that is being started again is waited for.

        Raises
        ------
        DaskdError
            As `errors.from_rpc` says.
        """
        pauses = self._pauses()
        while True:
            try:
                return await self._call_as_known(method, request)
            except DaemonUnavailable as error:
                pause = next(pauses, None)
                if pause is None or not retry:
                    raise error
            except Unimplemented as error:
                raise await self._explained(error) from error.__cause__
            await asyncio.sleep(pause)

    async def stream(self, method: Any, request: Any) -> AsyncGenerator[Any, None]:
        """Call `method`, which answers many times, once; what was answered is not asked for again.

        Raises
        ------
        DaskdError
            As `errors.from_rpc` says, at any answer.
        """
        for is_last_try in (False, True):
            metadata = await self._credentials.metadata()
            stream = _Stream(method(request, metadata=metadata), asyncio.get_running_loop())
            answered = False
            try:
                async for answer in stream:
                    answered = self._reached = True
                    yield answer
            except grpc.RpcError as error:
                translated = from_rpc(error, self._address)
                is_first = not answered and not is_last_try
                if isinstance(translated, Unauthenticated) and is_first and self._credentials.refused():
                    continue
                if isinstance(translated, Unimplemented):
                    translated = await self._explained(translated)
                raise translated from error
            finally:
                stream.cancel()
            return

    def pauses(self) -> Iterator[float]:
        """How long to wait before each further try, in seconds, until it is time to give up."""
        return self._pauses()

    async def _call_as_known(self, method: Any, request: Any) -> Any:
        """One call; a second one with new credentials if the daemon knew nobody by the first's."""
        try:
            return await self._call_once(method, request)
        except Unauthenticated:
            if not self._credentials.refused():
                raise
        return await self._call_once(method, request)

    async def _explained(self, error: Unimplemented) -> Unimplemented:
        """The error with the daemon's release in it, if what answers is a daemon."""
        try:
            info = await self._call_as_known(self._about, daemon_pb2.GetDaemonInfoRequest())
        except DaskdError:
            return error
        return Unimplemented(unknown_call(own_release(), info.version), facts={**error.facts, "version": info.version})

    async def _call_once(self, method: Any, request: Any) -> Any:
        metadata = await self._credentials.metadata()
        try:
            answer = await _answer(method.future(request, timeout=self._timeout, metadata=metadata))
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from error
        self._reached = True
        return answer

    def _pauses(self) -> Iterator[float]:
        deadline = time.monotonic() + (RETRY_FOR if self._reached else RETRY_FOR_AT_FIRST)
        pause = 0.05
        while time.monotonic() < deadline:
            yield pause * random.uniform(0.5, 1.5)  # noqa: S311 - spreads the clients of one daemon, guards nothing
            pause = min(_LONGEST_PAUSE, pause * 2)


async def _answer(call: Any) -> Any:
    """Await the answer of a call in gRPC's own threads."""
    loop = asyncio.get_running_loop()
    done: asyncio.Event = asyncio.Event()

    def tell(_: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    call.add_done_callback(tell)
    try:
        await done.wait()
    except asyncio.CancelledError:
        call.cancel()
        raise
    return call.result()


class _Stream:
    """A stream's answers, pulled by a thread of its own, which waits while they are not taken."""

    def __init__(self, call: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self._answers: asyncio.Queue[Callable[[], Any]] = asyncio.Queue(_STREAM_BUFFER)
        self._thread = threading.Thread(target=self._pull, name="daskd-stream", daemon=True)
        self._thread.start()

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Any:
        return (await self._answers.get())()

    def cancel(self) -> None:
        """End the call; a thread that waits for room ends too."""
        self._call.cancel()
        while not self._answers.empty():
            self._answers.get_nowait()

    def _pull(self) -> None:
        try:
            for answer in self._call:
                if not self._put(partial(_give, answer)):
                    return
            self._put(_end)
        except grpc.RpcError as error:
            self._put(partial(_throw, error))

    def _put(self, outcome: Callable[[], Any]) -> bool:
        putting = self._answers.put(outcome)
        try:
            asyncio.run_coroutine_threadsafe(putting, self._loop).result()
        except (RuntimeError, concurrent.futures.CancelledError):
            # The loop has ended, and with it whoever read.
            putting.close()
            self._call.cancel()
            return False
        return True


def _give(answer: Any) -> Any:
    return answer


def _end() -> None:
    raise StopAsyncIteration


def _throw(error: grpc.RpcError) -> None:
    raise error
