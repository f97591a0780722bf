"""The scheduler's class: every override of ``distributed``'s private methods stands here, or in its bases' files.

What a scheduler needs to go on where its predecessor ended is in ``journaled``, what a worker needs to outlive its
scheduler in ``survivor``. Each override says what it relies on. The tests in ``tests/runtime/test_overrides.py`` and
``test_resume.py`` run against the oldest, a middle and the newest supported release of ``distributed``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from typing import Any

from distributed import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.http.routing import RoutingApplication
from distributed.scheduler import TaskState, WorkerState
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback

from .journaled import JournaledScheduler
from .keeper import HOLDER_PREFIX, HeldBounds, Keeper, Key, is_worker_client

logger = logging.getLogger("daskd.scheduler")

_TICK_MS = 1000  # how often held work's bounds are looked at
_HTTP_BOUNDS = {"max_body_size": 1 << 20, "max_header_size": 1 << 16, "idle_connection_timeout": 600.0}


class ClientReturns(SchedulerPlugin):
    """Gives a client that comes back under its own id what was held for it.

    ``Scheduler.add_client`` runs as long as the connection lives; its plugins' ``add_client`` is
    called after the new ``ClientState`` is there and before the first message is read.
    """

    name = "daskd-client-returns"

    def add_client(self, scheduler: Any, client: str) -> None:
        """Take the keys back from the keeper."""
        scheduler.keeper.give_back(client)


class HubScheduler(JournaledScheduler):
    """A scheduler that keeps lost clients' work and tells why it ends.

    Parameters
    ----------
    held : HeldBounds
        When the work of lost clients is let go.
    journal : callable
        ``journal(type, words, **facts)``, told of events.
    on_terminate : callable
        Called with the peer's address when a client tells the scheduler to end.
    on_status : callable
        Called with the ``WorkerState`` after a worker's status changed.
    serve_http : bool
        Whether to serve HTTP (dashboard, ``/info``, ``/metrics``) at all.
    http_socket : socket, optional
        A listening socket to serve HTTP on, and nowhere else; its server is the caller's to stop. None: TCP.
    http_within : bool
        Whether to serve HTTP nowhere: ``http_application`` is served by the caller, within another server.
    **kwargs
        As :class:`JournaledScheduler` takes them.
    """

    def __init__(
        self,
        *,
        held: HeldBounds,
        journal: Callable[..., None],
        on_terminate: Callable[[str], None],
        on_status: Callable[[WorkerState], None],
        serve_http: bool,
        http_socket: socket.socket | None = None,
        http_within: bool = False,
        **kwargs: Any,
    ) -> None:
        self._serve_http = serve_http  # read by start_http_server, which the base class's __init__ calls
        self._http_socket = http_socket  # likewise
        self._http_within = http_within  # likewise
        self._on_terminate = on_terminate
        self._on_status = on_status
        self._leaving: set[str] = set()  # clients whose goodbye is none
        self._gone: set[str] = set()  # clients that said goodbye and whose connection is not closed yet
        self._connections: dict[str, asyncio.Event] = {}  # client id: set when its connection has ended
        super().__init__(journal=journal, **kwargs)
        self.keeper = Keeper(self, held, journal)
        self.add_plugin(ClientReturns())
        self.periodic_callbacks["daskd-held"] = PeriodicCallback(self.keeper.tick, _TICK_MS)
        self.stream_handlers["close-client"] = self.client_says_goodbye
        self.stream_handlers["daskd-leaving"] = self.client_is_leaving
        self.handlers["terminate"] = self.terminate
        self.handlers["daskd_held"] = self.daskd_held
        self.handlers["daskd_hand_over"] = self.daskd_hand_over
        self.handlers["daskd_recover"] = self.daskd_recover
        self.handlers["daskd_discard"] = self.daskd_discard

    # -- clients that come and go --------------------------------------------------------------

    async def add_client(self, comm: Any, client: str, versions: dict[str, Any]) -> None:
        """Serve a client's connection until it ends.

        A client that reconnects may arrive before the end of its old connection was noticed. The
        base class would then let the old connection's end remove the new ``ClientState``; so the
        old one is ended, and its keys are held, before the new one is let in.
        """
        await self.resumption.replayed.wait()
        while (ended := self._connections.get(client)) is not None:
            if client in self.client_comms:
                self.client_comms[client].abort()
            await ended.wait()
        self._connections[client] = ended = asyncio.Event()
        try:
            await super().add_client(comm, client=client, versions=versions)
        finally:
            del self._connections[client]
            self.keeper.forget_client(client)
            self._leaving.discard(client)
            self._gone.discard(client)
            ended.set()

    def client_is_leaving(self, client: str) -> None:
        """Stream operation ``daskd-leaving``: the goodbye that follows is none, hold its keys."""
        self._leaving.add(client)

    def client_says_goodbye(self, client: str) -> None:
        """Stream operation ``close-client``, which ``Client.close()`` sends: nothing is held.

        The base class's handler is :meth:`remove_client` itself, which is also what it calls at
        the end of a connection however it ended.
        """
        if client in self._leaving:
            self.remove_client(client)
        else:
            super().remove_client(client)
        self._gone.add(client)

    def remove_client(self, client: str, stimulus_id: str | None = None) -> None:
        """Hold a client's keys, then remove it: its connection ended without goodbye.

        Relies on the base class releasing exactly ``clients[client].wants_what`` in here.
        Pseudo-clients (variables, published names) have no connection and are not kept.
        """
        if client in self._connections and client not in self._gone and self.status == Status.running:
            with self.not_released(client if self.keeper.take(client) else None):
                super().remove_client(client, stimulus_id=stimulus_id)
        else:
            super().remove_client(client, stimulus_id=stimulus_id)

    def wanter(self, client: str) -> str:
        """Tell under which id the journal has what a client wants: a client's own is that of its holder."""
        is_lasting = client in self._connections and not is_worker_client(client)
        return HOLDER_PREFIX + client if is_lasting else client

    def client_desires_keys(self, keys: Collection[Key], client: str) -> None:
        """Note what a client wants; what of it was held needs no holder any more.

        Called for new graphs, scattered data, and by clients that unpickled a future.
        """
        super().client_desires_keys(keys=keys, client=client)
        if not self.is_submitting(client):
            self.keeper.desired(keys, client)

    def submitted(self, client: str, keys: Collection[Key]) -> None:
        """Note that a graph is there; before it is in the journal, what it shares with others is not let go."""
        self.keeper.desired(keys, client)

    def _remove_key(self, key: Key) -> None:
        """Forget a task. Wanted until now, it is lost: what releases a key takes its wanters first."""
        ts: TaskState | None = self.tasks.get(key)
        if ts is not None:
            self.keeper.forgetting(ts)
        super()._remove_key(key)

    # -- the scheduler's own life --------------------------------------------------------------

    def check_idle(self) -> float | None:
        """Tell since when there was nothing to do; held work waits for its owner, so that's not idle."""
        if self.keeper.holds:
            self.idle_since = None
            return None
        idle_since: float | None = super().check_idle()
        return idle_since

    async def restart(self, **kwargs: Any) -> None:
        """Forget all tasks and restart the workers; what was held is lost, and told so."""
        self.keeper.drop_all("a client restarted the cluster")
        await super().restart(**kwargs)

    async def terminate(self, comm: Any, **kwargs: Any) -> None:
        """Close because a client said so (``Client.shutdown()``), once that has been noted."""
        self._on_terminate(comm.peer_address)
        await self.close(reason="terminated by a client")

    def handle_worker_status_change(self, status: Any, worker: str | WorkerState, stimulus_id: str) -> None:
        """Note a worker's new status and pass it on."""
        super().handle_worker_status_change(status, worker, stimulus_id)
        ws = self.workers.get(worker) if isinstance(worker, str) else worker
        if ws is not None:
            self._on_status(ws)

    def start_http_server(self, routes: Any, *args: Any, **kwargs: Any) -> None:
        """Start the HTTP server unless it is off, or on a socket: the base class knows neither.

        Where it leaves a server's ``port`` Bokeh's application reads it. What serves on a socket is not
        among ``services``, whose ports the scheduler tells everybody.
        """
        if self._http_socket is not None or self._http_within:
            self.http_application = RoutingApplication(routes)
            server: Any = HTTPServer(self.http_application, **_HTTP_BOUNDS)
            if self._http_socket is not None:
                server.add_socket(self._http_socket)
            server.address, server.port = "", 0
            self.http_server = server
        elif self._serve_http:
            super().start_http_server(routes, *args, **kwargs)

    def identity(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tell who this is. ``Client._repr_html_`` fails where there is no dashboard's port: 0 means none."""
        identity: dict[str, Any] = super().identity(*args, **kwargs)
        if not self._serve_http or self._http_socket is not None or self._http_within:
            identity["services"] = {**identity["services"], "dashboard": 0}
        return identity

    # -- what clients ask over Dask's comm -------------------------------------------------------

    def daskd_held(self) -> dict[str, Any]:
        """Tell what is held, with every key: ``clients[i]["keys"]``."""
        return self.keeper.document(all_keys=True)

    def daskd_hand_over(self, client: str) -> int:
        """Hold what ``client`` wants, and what it will want when it closes.

        Returns
        -------
        int
            How many keys are held now.

        Raises
        ------
        ValueError
            ``client`` is not connected, or a task made it inside a worker.
        """
        if client not in self._connections or is_worker_client(client):
            raise ValueError(f"client {client!r} has nothing to hand over: only a connected client has")
        self._leaving.add(client)
        return self.keeper.take(client)

    def daskd_recover(self, client: str, lost: Collection[str] | None = None) -> list[Key]:
        """Hand held keys to ``client``; see :meth:`Keeper.recover`."""
        return self.keeper.recover(client, lost)

    def daskd_discard(self, client: str | None = None) -> dict[str, int]:
        """Let go of what is held for lost client ``client``, or for all; keys and bytes freed."""
        return self.keeper.discard(client)
