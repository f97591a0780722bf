"""A hub with real workers and clients in the test's own loop, and clients in processes of their own."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, Worker

from daskd.runtime.keeper import HeldBounds
from daskd.runtime.scheduler_hub import Hub

PATIENCE = 30.0


async def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait until a condition holds and return what it gave; fail after half a minute."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE:g} s: {what or condition}")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def a_hub(**kwargs: Any) -> AsyncIterator[Hub]:
    """Start a hub without workers; its scheduler validates itself at every transition."""
    ended_by: list[str] = []
    arguments: dict[str, Any] = {
        "identity": {"cluster": "c-1", "instance": "s-1", "runtime_version": "0.1.0"},
        "held": HeldBounds(),
        "on_terminate": ended_by.append,
        "serve_http": False,
        "host": "127.0.0.1",
        "port": 0,
        "dashboard": False,
        "validate": True,
        **kwargs,
    }
    with dask.config.set({"distributed.worker.memory.pause": False, "distributed.worker.memory.spill": False}):
        hub = Hub(**arguments)
        hub.ended_by = ended_by  # type: ignore[attr-defined]
        await hub.scheduler
        try:
            yield hub
        finally:
            await hub.scheduler.close()


@asynccontextmanager
async def workers(hub: Hub, n: int = 2, **kwargs: Any) -> AsyncIterator[list[Worker]]:
    """Start workers w-0, w-1, ... in this loop."""
    started = []
    arguments = {"nthreads": 1, "dashboard": False, "host": "127.0.0.1", "validate": True, **kwargs}
    try:
        for i in range(n):
            worker = Worker(hub.scheduler.address, **{"name": f"w-{i}", **arguments})
            started.append(worker)
            await worker
        yield started
    finally:
        await asyncio.gather(*(worker.close() for worker in started))


@asynccontextmanager
async def a_cluster(n: int = 2, worker: dict[str, Any] | None = None, **kwargs: Any) -> AsyncIterator[Hub]:
    """Start a hub with ``n`` workers of one thread."""
    async with a_hub(**kwargs) as hub, workers(hub, n, **(worker or {})):
        yield hub


@asynccontextmanager
async def a_client(hub: Hub, **kwargs: Any) -> AsyncIterator[Client]:
    """Connect a client, which says goodbye at the end unless it was lost."""
    async with Client(hub.scheduler.address, asynchronous=True, **kwargs) as client:
        yield client


async def lose(hub: Hub, client: Client) -> None:
    """Break a client's connection for good, as the end of its machine does."""
    client.status = "closing"  # or it would connect again
    client.scheduler_comm.comm.abort()
    await until(lambda: client.id not in hub.scheduler.client_comms, "the lost client is noticed")


@asynccontextmanager
async def client_process(hub: Hub, body: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a client in a process of its own, past the point where ``body`` is done.

    ``body`` finds ``client`` and what :mod:`gated` offers; afterwards the process waits for its end.
    """
    lines = [
        "import sys, gated",
        "from distributed import Client",
        f"client = Client({hub.scheduler.address!r})",
        textwrap.dedent(body).strip(),
        "print('ready', flush=True)",
        "sys.stdin.read()",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "\n".join(lines),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def recovered(client: Client, lost: list[str] | None = None) -> dict[Any, Future]:
    """Recover what is held, as a client's library does."""
    keys = await client.scheduler.daskd_recover(client=client.id, lost=lost)
    futures = {key: Future(key, client) for key in keys}
    client._send_to_scheduler({"op": "client-desires-keys", "keys": list(keys), "client": client.id})
    return futures


def event(hub: Hub, type_: str) -> dict[str, Any] | None:
    """Return the last event of a type."""
    return next((e for e in reversed(hub.journal.events) if e["type"] == type_), None)
