"""The edge of the API, once for every call: who calls, under which id, and how errors are told."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from daskd.measures import MEASURES
from daskd.model.errors import DaskdError, LimitExceeded
from daskd.security.authorize import Caller
from daskd.security.callers import UNIX_SOCKET, Callers

from .history import Refusals
from .status import REQUEST_ID_KEY, MalformedMessage, MessageTooLarge, UnknownFields, refuse
from .unknown_fields import unknown_fields

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

OPEN_SERVICES = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
"""Services that ask nobody who they are: they tell nothing of any cluster."""

_ASKS_RELEASE = "GetDaemonInfo"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_MOST_CALLS_PER_USER = 250  # of the 1,000 that the server takes at once: nobody's watches shut the others out
_CALLER: ContextVar[Caller] = ContextVar("daskd_caller")


class _Unreadable:
    """Stands for a request that could not be read, until the call is far enough to say so."""

    def __init__(self, error: DaskdError) -> None:
        self.error = error


def current_caller() -> Caller:
    """Who makes the call that is being served.

    Raises
    ------
    LookupError
        Outside of a call.
    """
    return _CALLER.get()


class Edge(grpc.aio.ServerInterceptor):
    """Wraps every call's handler.

    Parameters
    ----------
    callers
        Tells who calls.
    refusals
        Told of every refused call.
    max_message_bytes
        The largest request. gRPC's own bound lies above it, since its answer names no reason.
    """

    def __init__(self, callers: Callers, refusals: Refusals, *, max_message_bytes: int) -> None:
        self._callers = callers
        self._refusals = refusals
        self._max_message_bytes = max_message_bytes
        self._calls: Counter[int] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a call, wrapped; that of an open service, and of what we don't have, as it is."""
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.lstrip("/").rpartition("/")
        if handler is None or service in OPEN_SERVICES:
            return handler
        read = self._reader(method, handler.request_deserializer)
        if handler.response_streaming:
            stream = self._streaming(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(stream, read, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary), read, handler.response_serializer
        )

    def _reader(self, method: str, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def read(data: bytes) -> Any:
            if len(data) > self._max_message_bytes:
                return _Unreadable(_too_large(len(data), self._max_message_bytes))
            try:
                request = deserialize(data)
            except DecodeError:
                return _Unreadable(MalformedMessage("the request is no such message: does client fit this daemon?"))
            # the call by which a newer client learns whom it talks to is served whatever it says
            unknown = () if method == _ASKS_RELEASE else unknown_fields(request)
            return _Unreadable(_too_new(unknown)) if unknown else request

        return read

    def _unary(self, method: str, behaviour: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            with MEASURES.timed("rpc", method):
                async with self._served(method, request, context):
                    return await behaviour(request, context)

        return call

    def _streaming(
        self, method: str, behaviour: Callable[..., AsyncGenerator[Any, None]]
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with self._served(method, request, context), aclosing(behaviour(request, context)) as answers:
                async for answer in answers:
                    yield answer

        return call

    @asynccontextmanager
    async def _served(self, method: str, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        metadata = _text_metadata(context)
        request_id = _request_id(metadata)
        # Every call is a task of its own, so what is bound here ends with it.
        structlog.contextvars.bind_contextvars(request_id=request_id, method=method, peer=_peer(context))
        caller = None
        try:
            caller = await self._callers.identify(
                metadata.get("authorization", ""), _peer(context), context.auth_context()
            )
            _CALLER.set(caller)
            structlog.contextvars.bind_contextvars(user=caller.name, uid=caller.identity.uid)
            if isinstance(request, _Unreadable):
                raise request.error
            context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
            with self._counted(caller):
                yield
            MEASURES.count("rpcs", method, "OK")
        except DaskdError as error:
            MEASURES.count("rpcs", method, error.reason)
            log.info("call refused", reason=error.reason, **_loggable(error))
            await self._refusals.tell(error, method, request, caller, _peer(context))
            await refuse(context, error, request_id)
        except grpc.aio.AbortError:
            raise
        except Exception:
            # The edge of the API: whatever a servicer did not foresee is told in words, and logged whole, once.
            MEASURES.count("rpcs", method, DaskdError.reason)
            log.exception("call failed")
            words = f"the daemon failed to serve {method}; its log says why under request id {request_id}"
            await refuse(context, DaskdError(words, facts={"request_id": request_id}), request_id)

    @contextmanager
    def _counted(self, caller: Caller) -> Iterator[None]:
        uid = caller.identity.uid
        if self._calls[uid] >= _MOST_CALLS_PER_USER:
            raise LimitExceeded(
                f"you have {self._calls[uid]} calls under way, and {_MOST_CALLS_PER_USER} are allowed: end some, such "
                "as watches and followed logs",
                facts={"used": str(self._calls[uid]), "allowed": str(_MOST_CALLS_PER_USER)},
            )
        self._calls[uid] += 1
        try:
            yield
        finally:
            self._calls[uid] -= 1
            if not self._calls[uid]:
                del self._calls[uid]


def _loggable(error: DaskdError) -> dict[str, Any]:
    # the words of a problem may quote what the user wrote, and that may be a secret
    if error.problems:
        return {"fields": [problem.field[:200] for problem in error.problems[:20]]}
    return {"words": error.words[:500]}


def _too_new(unknown: tuple[str, ...]) -> UnknownFields:
    return UnknownFields(
        f"the request says what this release of daskd does not know ({', '.join(unknown)}): upgrade the daemon to the "
        "client's release, or do without what is new in it",
        facts={"fields": ", ".join(unknown)},
    )


def _too_large(size: int, allowed: int) -> MessageTooLarge:
    return MessageTooLarge(
        f"the request has {size} bytes, and {allowed} are allowed: make it smaller, or have the administrator raise "
        "`daemon.max_message_bytes`",
        facts={"bytes": str(size), "allowed": str(allowed)},
    )


def _text_metadata(context: grpc.aio.ServicerContext) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _request_id(metadata: dict[str, str]) -> str:
    given = metadata.get(REQUEST_ID_KEY, "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _peer(context: grpc.aio.ServicerContext) -> str:
    peer = str(context.peer())
    return UNIX_SOCKET if peer.startswith("unix") else peer
