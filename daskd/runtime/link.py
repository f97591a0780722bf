"""The runtime's end of the link: JSON over HTTP/1.1 on the socket that the daemon bound.

The daemon connects; nothing here calls it. Every request is checked, and told what is wrong with
it; every answer is strict JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from .changes import Changes
from .scheduler_hub import Hub
from .sockets import listening

MAX_BODY = 1024 * 1024
MAX_WAIT = 60.0
BOUNDS: dict[str, Any] = {
    "max_body_size": MAX_BODY,
    "max_buffer_size": 2 * MAX_BODY,
    "max_header_size": 16 * 1024,
    "body_timeout": 30.0,
}
_IDLE_SECONDS = 3600.0
_MAX_NAMES = 10_000
_MAX_TEXT = 1000
_MAX_DRAIN = 7 * 86400.0


class BadRequestError(Exception):
    """A request that can't be answered; the text says what to send instead."""


def names(body: Mapping[str, Any], field: str) -> list[str]:
    """Return a list of names out of a request's body.

    Raises
    ------
    BadRequestError
        It is missing or is anything else.
    """
    value = body.get(field)
    if not isinstance(value, list) or len(value) > _MAX_NAMES or not all(is_text(x) for x in value):
        raise BadRequestError(f"{field!r} must be a list of at most {_MAX_NAMES} texts, 1 to {_MAX_TEXT} characters")
    return value


def is_text(value: object) -> bool:
    """Whether a value is a text of acceptable length."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT


def optional_text(body: Mapping[str, Any], field: str) -> str | None:
    """Return a text or None out of a request's body; raises BadRequestError for anything else."""
    value = body.get(field)
    if value is not None and not is_text(value):
        raise BadRequestError(f"{field!r} must be null or a text of 1 to {_MAX_TEXT} characters")
    return value


def optional_count(body: Mapping[str, Any], field: str) -> int | None:
    """Return a whole number >= 0 or None out of a request's body; raises BadRequestError otherwise."""
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadRequestError(f"{field!r} must be null or a whole number, 0 or more")
    return value


def seconds(body: Mapping[str, Any], field: str) -> float:
    """Return a time in seconds, 0 to a week, out of a request's body; raises BadRequestError otherwise."""
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_DRAIN:
        raise BadRequestError(f"{field!r} must be a number of seconds from 0 to {_MAX_DRAIN:.0f}")
    return float(value)


class LinkHandler(RequestHandler):
    """What all calls of the link share: JSON in, JSON out, errors in words."""

    hub: Hub

    def initialize(self, hub: Hub) -> None:
        """Take the hub; called by tornado."""
        self.hub = hub

    def prepare(self) -> None:
        """Note that the daemon spoke."""
        self.hub.heard()

    def body(self) -> dict[str, Any]:
        """Return the request's body, a JSON object; raises BadRequestError for anything else."""
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as err:
            raise BadRequestError(f"the body must be a JSON object: {err}") from err
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        return body

    def number(self, name: str, default: float | None, most: float = 2.0**53) -> float | None:
        """Return a number out of the query; raises BadRequestError if it is none or out of range."""
        text = self.get_query_argument(name, None)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise BadRequestError(f"{name!r} must be a number from 0 to {most:.0f}")
        return value

    def answer(self, document: Mapping[str, Any]) -> None:
        """Send a document."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document, allow_nan=False, separators=(",", ":")))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send an error as JSON; called by tornado."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, BadRequestError):
            self.set_status(400)
            self.answer({"error": str(error)})
        else:
            self.answer({"error": self._reason})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what failed here, not what was asked wrongly."""
        if not isinstance(value, BadRequestError):
            super().log_exception(typ, value, tb)

    async def wait_for_change(self, changes: Changes, name: str = "since") -> bool:
        """Wait as the query says; False if the caller has gone meanwhile."""
        wait = self.number("wait", 0.0, MAX_WAIT) or 0.0
        since = self.number(name, None)
        if wait and since is not None:
            self._waiting = asyncio.ensure_future(changes.wait(int(since), wait))
            await asyncio.wait([self._waiting])
            return not self._waiting.cancelled()
        return True

    def on_connection_close(self) -> None:
        """Stop waiting for a caller that has gone; called by tornado."""
        waiting: asyncio.Future[None] | None = getattr(self, "_waiting", None)
        if waiting is not None:
            waiting.cancel()


class Hello(LinkHandler):
    """Who this is."""

    def get(self) -> None:
        """Answer at once."""
        self.answer({**self.hub.hello(), "pid": os.getpid()})


class StateCall(LinkHandler):
    """The state, at once or when it changes."""

    async def get(self) -> None:
        """Answer when the revision is another than ``since``, at the latest after ``wait`` seconds."""
        if await self.wait_for_change(self.hub.changes):
            self.answer(self.hub.state_document())


class Snapshot(LinkHandler):
    """The adaptive policy's facts."""

    async def get(self) -> None:
        """Answer when a wake condition came after ``since``, at the latest after ``wait`` seconds."""
        rev = self.number("rev", None)
        if await self.wait_for_change(self.hub.facts.wake):
            self.answer(self.hub.facts.snapshot(None if rev is None else int(rev)))


class Retire(LinkHandler):
    """Retire workers by name."""

    def post(self) -> None:
        """Begin or go on, and tell how far it is."""
        body = self.body()
        drain, if_idle_rev = seconds(body, "drain"), optional_count(body, "if_idle_rev")
        self.answer({"workers": self.hub.retirement.begin(names(body, "workers"), drain, if_idle_rev)})


class Fence(LinkHandler):
    """Refuse nodes of instances that were given up."""

    def post(self) -> None:
        """Fence what has not joined."""
        body = self.body()
        lost = names(body, "lost") if "lost" in body else []
        self.answer({"ids": self.hub.fence(names(body, "ids"), lost)})


class Claim(LinkHandler):
    """Claim a scheduler that was placed."""

    def post(self) -> None:
        """Have it admit nodes; a repeat is harmless."""
        instance = optional_text(self.body(), "instance") or ""
        try:
            self.hub.claim(instance)
        except ValueError as err:
            raise BadRequestError(str(err)) from err
        self.answer({"instance": instance})


class Held(LinkHandler):
    """What lost clients left."""

    def get(self) -> None:
        """List it."""
        self.answer(self.hub.scheduler.keeper.document())


class DiscardHeld(LinkHandler):
    """Let go of what lost clients left."""

    def post(self) -> None:
        """Discard one client's work, or all."""
        self.answer(self.hub.scheduler.keeper.discard(optional_text(self.body(), "client")))


class Close(LinkHandler):
    """End the cluster."""

    def post(self) -> None:
        """Begin to close."""
        reason = optional_text(self.body(), "reason") or "the daemon said so"
        self.hub.close(reason)
        self.answer({})


class Unknown(LinkHandler):
    """Any other path."""

    def prepare(self) -> None:
        """Say that there is no such call."""
        self.set_status(404)
        self.answer({"error": f"no call {self.request.path!r} in version 1 of the link's protocol"})


CALLS: dict[str, type[LinkHandler]] = {
    "/v1/hello": Hello,
    "/v1/state": StateCall,
    "/v1/snapshot": Snapshot,
    "/v1/retire": Retire,
    "/v1/claim": Claim,
    "/v1/fence": Fence,
    "/v1/held": Held,
    "/v1/held/discard": DiscardHeld,
    "/v1/close": Close,
}


def serve_link(hub: Hub, fd: int) -> HTTPServer:
    """Serve the link on a bound unix socket.

    Parameters
    ----------
    hub : Hub
        What is told and asked.
    fd : int
        Descriptor of the socket, bound by the daemon.

    Raises
    ------
    OSError
        ``fd`` is no bound unix socket.
    """
    sock = listening(fd)
    server = HTTPServer(link_application(hub), idle_connection_timeout=_IDLE_SECONDS, **BOUNDS)
    server.add_socket(sock)
    return server


def link_application(hub: Hub) -> Application:
    """Return what answers the calls of the link, wherever it is served."""
    routes = [(path, handler, {"hub": hub}) for path, handler in CALLS.items()]
    return Application(
        routes,
        default_handler_class=Unknown,
        default_handler_args={"hub": hub},
        log_function=lambda handler: None,  # the daemon asks every second
    )
