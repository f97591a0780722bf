"""The gRPC server: built of services, it listens on unix sockets and on TCP, and stops in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from daskd.model.errors import StateUnusable
from daskd.model.listen import Listener, parse_listener
from daskd.security.callers import Callers
from daskd.security.listeners import check_listeners, server_credentials
from daskd.security.refusals import RefusalBudget
from daskd.security.sockets import Claim, SocketFile, socket_mode
from daskd.security.tokens import TokenServer
from daskd_api.v1 import cluster_pb2, cluster_pb2_grpc, daemon_pb2, daemon_pb2_grpc, token_pb2, token_pb2_grpc

from .clusters import ClusterServicer
from .daemon_info import DaemonServicer
from .edge import Edge
from .history import Refusals
from .services import Services
from .token_service import TokenServicer

_MOST_CALLS = 1000
_SERVICE_NAMES = (
    cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name,
    daemon_pb2.DESCRIPTOR.services_by_name["DaemonService"].full_name,
    token_pb2.DESCRIPTOR.services_by_name["TokenService"].full_name,
)


class ApiServer:
    """The API on its sockets, with the token exchange beside each. Made by `build_server`."""

    def __init__(
        self,
        services: Services,
        server: grpc.aio.Server,
        status: health.aio.HealthServicer,
        listeners: Sequence[Listener],
        addresses: list[str],
    ) -> None:
        self._services = services
        self._server = server
        self._health = status
        self._tokens = TokenServer(services.tokens)
        self._files = [SocketFile(listener.socket) for listener in listeners if listener.socket is not None]
        self._ports = [listener for listener in listeners if listener.socket is None]
        self._addresses = addresses
        self._claims: list[Claim] = []

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        StateUnusable
            When a socket's place or a port can't be taken; the words say why and what to do.
        InvalidConfig
            When a TCP listener lacks what it needs to be safe.
        """
        try:
            await self._listen()
        except BaseException:
            await self.stop(0)
            raise

    async def _listen(self) -> None:
        mode = socket_mode(self._services.daemon_uid)
        for file in self._files:
            await asyncio.to_thread(file.check)
            try:
                self._server.add_insecure_port(f"unix:{file.draft}")
            except RuntimeError as error:
                raise StateUnusable(
                    f"the socket {file.path} can't be bound: may this daemon write to its folder?",
                    facts={"path": str(file.path)},
                ) from error
        await self._bind_ports()
        await self._server.start()
        for file in self._files:
            # The exchange first: whoever sees the API's socket can get a token.
            await self._tokens.listen(file.path, mode)
            self._claims.append(file.publish(mode))
        for name in ("", *_SERVICE_NAMES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def _bind_ports(self) -> None:
        tls = self._services.config.tls
        check_listeners(self._ports, tls)
        credentials = await asyncio.to_thread(server_credentials, tls) if self._ports else None
        for listener in self._ports:
            try:
                if credentials is not None:
                    port = self._server.add_secure_port(str(listener), credentials)
                else:
                    port = self._server.add_insecure_port(str(listener))
            except RuntimeError as error:
                raise StateUnusable(
                    f"{listener} can't be listened on: is the port taken, or the certificate no PEM? Listen elsewhere, "
                    "or mend `[tls]`",
                    facts={"listen": str(listener)},
                ) from error
            self._addresses.append(str(replace(listener, port=port)))

    async def stop(self, grace: float) -> None:
        """Take no more calls, end long streams, wait for the rest, remove the sockets. Again: does nothing.

        Parameters
        ----------
        grace
            Seconds that calls under way have to end by themselves.
        """
        self._services.stopping.set()
        await self._health.enter_graceful_shutdown()
        await self._tokens.close()
        for claim in self._claims:
            claim.release()
        self._claims.clear()
        await self._server.stop(grace)
        await self._services.settled()


def build_server(services: Services, listen: Sequence[str]) -> ApiServer:
    """The API's server, not yet listening.

    Parameters
    ----------
    listen
        Addresses, "unix:" and an absolute path, or "HOST:PORT".
    """
    most = services.config.daemon.max_message_bytes
    callers = Callers(services.tokens, services.lasting_tokens, lambda: services.config.access, services.daemon_uid)
    refusals = Refusals(services.store, RefusalBudget(services.clock))
    edge = Edge(callers, refusals, max_message_bytes=most)
    server = grpc.aio.server(interceptors=(edge,), options=_options(most), maximum_concurrent_rpcs=_MOST_CALLS)
    cluster_pb2_grpc.add_ClusterServiceServicer_to_server(ClusterServicer(services), server)
    listeners = [parse_listener(address) for address in listen]
    addresses = [str(listener) for listener in listeners if listener.socket is not None]  # ports are added once bound
    daemon_pb2_grpc.add_DaemonServiceServicer_to_server(DaemonServicer(services, addresses), server)
    token_pb2_grpc.add_TokenServiceServicer_to_server(TokenServicer(services), server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection((*_SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return ApiServer(services, server, status, listeners, addresses)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        # What lies between is refused by the edge, in words; beyond it gRPC cuts off what it would have to hold.
        ("grpc.max_receive_message_length", 2 * max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", 200),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.so_reuseport", 0),
    ]
