"""A scheduler that a driver placed away from the daemon: link and dashboard by TLS, for the daemon alone.

Nobody but the daemon has the certificate that is asked for here; a cluster's clients and workers, which have others of
the same authority, are refused. Who launched this one may have launched another, too, whose start was unsure: so it
admits no node before the daemon has claimed it, and ends when nobody does.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Iterable
from typing import Any

from distributed.comm.addressing import get_address_host
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from .exits import Ended, ExitCode
from .link import BOUNDS, link_application
from .scheduler_hub import Hub
from .spec import Placed, SchedulerSpec, TLSFiles
from .state import address_of

_IDLE_SECONDS = 60.0
_BACKLOG = 128
_LOOK_SECONDS = 5.0


class Refused(RequestHandler):
    """Who is not the daemon."""

    def prepare(self) -> None:
        """Say so, whatever was asked."""
        self.set_status(403)
        self.finish({"error": "only the daemon that owns this cluster is answered here"})


class Door(Router):
    """Lets the daemon in, to the link's calls, and to the dashboard below its prefix.

    Parameters
    ----------
    name : str
        The name in the daemon's certificate.
    link : Application
        Answers the link's calls.
    pages : Router or None
        Serves the dashboard.
    prefix : str
        The path below which the dashboard's pages are.
    """

    def __init__(self, name: str, link: Application, pages: Router | None, prefix: str) -> None:
        self._name = name
        self._link = link
        self._pages = pages
        self._prefix = prefix.rstrip("/") + "/"
        self._refusal = Application(default_handler_class=Refused, log_function=lambda handler: None)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Choose who answers; called by tornado."""
        if not names_of(request.get_ssl_certificate()).intersection([self._name]):
            return self._refusal.find_handler(request, **kwargs)
        if self._pages is not None and request.path.startswith(self._prefix):
            return self._pages.find_handler(request, **kwargs)
        return self._link.find_handler(request, **kwargs)


def names_of(certificate: Any) -> set[str]:
    """Return the host names in a peer's certificate, as the ssl module gives it; of none, none."""
    names = (certificate or {}).get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return {value for kind, value in names if kind == "DNS"}


def server_context(tls: TLSFiles) -> ssl.SSLContext:
    """Return TLS as the link speaks it: who shows no certificate of the cluster's authority gets no further.

    Raises
    ------
    OSError
        A file can't be read, or is damaged.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca)
    context.load_cert_chain(tls.cert, tls.key)
    return context


def ports_of(placed: Placed) -> Iterable[int]:
    """Return the ports that may be taken, as they are tried: at random, for others of one range begin, too."""
    if not placed.first_port:
        return [0]
    ports = list(range(placed.first_port, placed.last_port + 1))
    random.shuffle(ports)
    return ports


def bind(host: str, placed: Placed) -> socket.socket:
    """Return a bound socket of TCP at a free port.

    Raises
    ------
    Ended
        There is none, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports_of(placed):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((host, port))
            # Two may be bound to one port that each other's reuse of addresses allows, and one of them listens.
            sock.listen(_BACKLOG)
        except OSError as err:
            sock.close()
            failure = err
            continue
        sock.setblocking(False)
        return sock
    ports = f"the ports {placed.first_port} to {placed.last_port}" if placed.first_port else "a free port"
    raise Ended(ExitCode.FAILED, f"this machine does not give the scheduler {ports} at {host}: {failure}")


def free_port(host: str, placed: Placed) -> int:
    """Return a port for the scheduler itself: a free one of the range; 0, any, where there is none.

    Raises
    ------
    Ended
        There is none left.
    """
    if not placed.first_port:
        return 0
    with bind(host, placed) as sock:
        return int(sock.getsockname()[1])


def serve(hub: Hub, spec: SchedulerSpec, sock: socket.socket) -> HTTPServer:
    """Serve link and dashboard on a listening socket.

    Raises
    ------
    Ended
        The certificates can't be used.
    """
    assert spec.tls is not None
    try:
        context = server_context(spec.tls)
    except OSError as err:
        raise Ended(ExitCode.TLS_REFUSED, f"the scheduler's certificates can't be used for its link: {err}") from err
    prefix = spec.dashboard_prefix
    pages = hub.scheduler.http_application if prefix is not None else None
    door = Door(f"{spec.cluster}.daemon", link_application(hub), pages, prefix or "")
    server = HTTPServer(door, ssl_options=context, idle_connection_timeout=_IDLE_SECONDS, **BOUNDS)
    server.add_socket(sock)
    return server


def link_address(hub: Hub, sock: socket.socket) -> str:
    """Return where the link is reached: at the host that the scheduler itself is reached at."""
    host = get_address_host(address_of(hub.scheduler) or "") or sock.getsockname()[0]
    return f"tls://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"


async def watch_claim(hub: Hub, timeout: float) -> None:
    """Close the scheduler when it was not claimed within ``timeout`` seconds.

    Raises
    ------
    Ended
        It was not.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not hub.roster.is_open:
        left = deadline - loop.time()
        if left <= 0:
            words = f"no daemon claimed this scheduler within {timeout:g} s: another may have taken its place"
            hub.close(words)
            raise Ended(ExitCode.FENCED, words)
        await asyncio.sleep(min(left, _LOOK_SECONDS))
