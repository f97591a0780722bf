"""A real server on a real socket over the real store; the control plane is a recorder behind the API's own Protocol."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from pydantic import BaseModel, ConfigDict

from daskd.api.server import ApiServer, build_server
from daskd.api.services import About, Services
from daskd.config import Config
from daskd.model.cluster import Cluster
from daskd.model.errors import NotAllowed, Problem, WorkerNotFound
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import (
    Connection,
    DriverInfo,
    Explanation,
    GroupExplanation,
    HeldWorkView,
    LogLine,
    Preview,
    WaitingView,
    WorkerState,
    WorkerView,
)
from daskd.security.lasting_tokens import LastingTokens
from daskd.security.tokens import Tokens
from daskd.store import SqliteStore
from daskd_api.v1 import cluster_pb2_grpc, daemon_pb2_grpc, token_pb2_grpc

USER = pwd.getpwuid(os.geteuid()).pw_name
OTHER_UID = 65534
MACHINE_ID = "0123456789abcdef0123456789abcdef"


class QueueOptions(BaseModel):
    """Options of the harness's second driver."""

    model_config = ConfigDict(extra="forbid")
    queue: str = ""
    nodes: int = 1


class NoOptions(BaseModel):
    """Options of a driver that has none."""


def _queue_problems(group: WorkerGroupSpec, who: Identity) -> list[Problem]:
    if group.options.get("queue") == "closed":
        return [Problem("options.queue", "the queue 'closed' takes no jobs: use another")]
    return []


def _queue_preview(spec: ClusterSpec, group: WorkerGroupSpec, who: Identity) -> Preview:
    return Preview(f"submit --user={who.name}", 2, f"#!/bin/sh\n# {group.options.get('queue')}\n")


def _driver(name: str, options: type[BaseModel], validate: Any, complete: Any, words: str = "") -> DriverInfo:
    return DriverInfo(name, f"The {name}", options, not words, words, validate, complete)


def _no_problems(group: WorkerGroupSpec, who: Identity) -> list[Problem]:
    return []


def _as_it_is(group: WorkerGroupSpec) -> WorkerGroupSpec:
    return group


DRIVERS = {
    "local": _driver("local", NoOptions, _no_problems, _as_it_is),
    "queue": replace(_driver("queue", QueueOptions, _queue_problems, _as_it_is), preview=_queue_preview),
    "sized": _driver("sized", NoOptions, _no_problems, lambda group: group.model_copy(update={"memory_limit": 5})),
    "away": _driver("away", NoOptions, _no_problems, _as_it_is, "its program is missing: install it"),
}


@dataclass
class RecordingControl:
    """Remembers what the API asked of the control plane."""

    drivers: dict[str, DriverInfo] = field(default_factory=lambda: dict(DRIVERS))
    started: list[str] = field(default_factory=list)
    started_in: list[dict[str, Any]] = field(default_factory=list)
    unusable: set[int] = field(default_factory=set)
    woken: list[str] = field(default_factory=list)
    logs_asked: list[dict[str, Any]] = field(default_factory=list)
    following: asyncio.Event = field(default_factory=asyncio.Event)

    async def check_owner(self, who: Identity, drivers: Collection[str] = ()) -> None:
        if who.uid in self.unusable:
            raise NotAllowed("its home is missing: create it", facts={"user": who.name})

    def wake(self, uid: str) -> None:
        self.woken.append(uid)

    async def created(self, cluster: Cluster) -> None:
        self.started.append(cluster.uid)
        self.started_in.append(structlog.contextvars.get_contextvars())

    async def workers(self, cluster: Cluster, include_ended: bool) -> list[WorkerView]:
        running = WorkerView("w-0", "default", "i0", "local", WorkerState.RUNNING, nthreads=2, resources={"GPU": 1.0})
        views = [replace(running, expected_end=4e9)]
        return [*views, WorkerView("w-1", "other", "i1", "local", WorkerState.ENDED)] if include_ended else views

    async def explain(self, cluster: Cluster) -> Explanation:
        waiting = WaitingView(1, 2, WorkerState.QUEUED, "in the queue", 1.5)
        group = GroupExplanation("default", 2, "count", ("ann wants it so",), 7, (waiting,))
        return Explanation(("it runs",), (group,))

    async def logs(
        self, cluster: Cluster, *, scheduler: bool, worker: str, follow: bool, tail: int | None, since: float | None
    ) -> AsyncIterator[list[LogLine]]:
        self.logs_asked.append({"scheduler": scheduler, "worker": worker, "tail": tail, "since": since})
        if worker == "nobody":
            raise WorkerNotFound("there is no worker 'nobody'", facts={"worker": worker})
        yield [LogLine(1.5, "i0", "default", ("w-0",), "a line")]
        if follow:
            self.following.set()
            await asyncio.Event().wait()

    async def connection(self, cluster: Cluster) -> Connection:
        return Connection("tls://127.0.0.1:1", "CA", "CERT", "KEY", "http://x", {"python": "3"})

    async def held_work(self, cluster: Cluster) -> list[HeldWorkView]:
        raise RuntimeError("a mistake of the daemon's")

    async def discard_held_work(self, cluster: Cluster, client: str) -> tuple[int, int]:
        return 3, 4096


@dataclass
class Api:
    """A running API and one caller's channel to it."""

    directory: Path
    server: ApiServer
    store: SqliteStore
    control: RecordingControl
    services: Services
    channel: grpc.aio.Channel
    token: str

    @property
    def clusters(self) -> cluster_pb2_grpc.ClusterServiceStub:
        return cluster_pb2_grpc.ClusterServiceStub(self.channel)

    @property
    def tokens(self) -> token_pb2_grpc.TokenServiceStub:
        return token_pb2_grpc.TokenServiceStub(self.channel)

    @property
    def daemon(self) -> daemon_pb2_grpc.DaemonServiceStub:
        return daemon_pb2_grpc.DaemonServiceStub(self.channel)

    @property
    def auth(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    async def close(self) -> None:
        await self.channel.close()
        await self.server.stop(0)
        await self.store.close()


async def start_api(directory: Path, config: Config | None = None, clock: Callable[[], float] = time.time) -> Api:
    """Serve on `<directory>/s`, with the state in `<directory>/state`."""
    config = config or Config()
    store = await SqliteStore.open(directory / "state", machine_id=MACHINE_ID, clock=clock)
    control = RecordingControl()
    about = About("1.2.3", "1.0.0", clock(), os.getpid(), "here", 1)
    lasting = LastingTokens(store, clock)
    services = Services(store, control, Tokens(clock), lasting, config, about, os.geteuid(), clock)
    path = directory / "s"
    server = build_server(services, [f"unix:{path}", *config.daemon.listen])
    await server.start()
    token = (await asyncio.to_thread(ask_token, path))["token"]
    channel = grpc.aio.insecure_channel(f"unix:{path}", options=[("grpc.max_send_message_length", -1)])
    return Api(directory, server, store, control, services, channel, token)


def ask_token(path: Path) -> dict[str, Any]:
    """What the exchange beside that socket answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(f"{path}.auth")
        return dict(json.loads(connection.makefile().readline()))


# Becomes the other user only once it runs, so that it needs no right to our interpreter's folder.
ASK = """
import json, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as api:
    api.connect(sys.argv[1])
with socket.socket(socket.AF_UNIX) as exchange:
    exchange.settimeout(20)
    exchange.connect(sys.argv[1] + ".auth")
    sys.stdout.write(exchange.makefile().readline())
"""


def ask_token_as(path: Path, uid: int) -> str:
    """The token that another user is given; only root can ask so."""
    command = [sys.executable, "-S", "-c", ASK, str(path), str(uid)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(json.loads(done.stdout)["token"])


@dataclass(frozen=True)
class Refusal:
    """What a refused call told."""

    code: grpc.StatusCode
    reason: str
    words: str
    facts: dict[str, str]
    fields: dict[str, str]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """The error with its details unpacked."""
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    assert info.domain == "daskd"
    assert status.message == error.details()
    assert status.code == error.code().value[0]
    fields = {violation.field: violation.description for violation in bad.field_violations}
    return Refusal(error.code(), info.reason, status.message, dict(info.metadata), fields)


async def refused(call: Any) -> Refusal:
    """What a call that must be refused is told."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal(error)
    raise AssertionError("the call was not refused")


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, not for ever."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.01)


async def take(stream: Any, count: int) -> Sequence[Any]:
    """The next answers of a stream."""
    return [await asyncio.wait_for(stream.read(), 20) for _ in range(count)]
