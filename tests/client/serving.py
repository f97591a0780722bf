"""A gRPC server on a unix socket with the token exchange beside it: what a client sees of a daemon, and no more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from daskd_api.v1 import cluster_pb2_grpc, daemon_pb2_grpc


@dataclass
class Exchange:
    """The token exchange: hands out ``token-1``, ``token-2``, ...; `lifetime` in seconds."""

    path: Path
    lifetime: float = 600.0
    given: list[str] = field(default_factory=list)
    answer: Callable[[str], bytes] | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = f"token-{len(self.given) + 1}"
        self.given.append(token)
        document = {"token": token, "expires": time.time() + self.lifetime, "user": "ann"}
        answer = self.answer(token) if self.answer else json.dumps(document).encode() + b"\n"
        try:
            writer.write(answer)
            await writer.drain()
        except ConnectionError:
            pass  # the client looked at who we are and went
        writer.close()


@asynccontextmanager
async def serving(socket: Path, *servicers: Any, exchange: Exchange | None = None) -> AsyncIterator[Exchange]:
    """Serve `servicers` at `socket`."""
    exchange = exchange or Exchange(Path(f"{socket}.auth"))
    exchange.path.unlink(missing_ok=True)
    auth = await asyncio.start_unix_server(exchange, path=str(exchange.path))
    server = grpc.aio.server()
    for servicer in servicers:
        if isinstance(servicer, cluster_pb2_grpc.ClusterServiceServicer):
            cluster_pb2_grpc.add_ClusterServiceServicer_to_server(servicer, server)
        if isinstance(servicer, daemon_pb2_grpc.DaemonServiceServicer):
            daemon_pb2_grpc.add_DaemonServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield exchange
    finally:
        await server.stop(0)
        auth.close()
        await auth.wait_closed()


async def refuse(
    context: Any,
    code: grpc.StatusCode,
    words: str,
    reason: str = "",
    facts: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
) -> None:
    """End a call as daskd does: a status with a google.rpc.ErrorInfo, and a BadRequest for the fields at fault."""
    details = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(domain="daskd", reason=reason, metadata=facts or {}))
    if fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=name, description=text) for name, text in fields.items()
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=words, details=packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, words)


def metadata_of(context: Any) -> dict[str, str]:
    """The metadata of a call."""
    return dict(context.invocation_metadata())
