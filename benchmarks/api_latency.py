"""How long calls take: get, list and scale with 1 and with 200 clusters recorded, beside a bare grpc.aio echo.

    python benchmarks/api_latency.py [--calls 500] [--clusters 1 200]

The echo is served by a process of its own on a unix socket and called by the same client, turn by turn with ours. One
of the clusters lives, and its scheduler never comes up, so that a scale is recorded (with its disk sync) and starts
nothing; the others have ended. Prints the 50th and 99th percentile in milliseconds, and their ratios to the echo's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from daskd_client import AsyncDaskd
from daskd_client.types import ClusterSpec, Phase, WorkerGroupSpec
from served import Served

ECHO = "/benchmark.Echo/Echo"
Call = Callable[[], Awaitable[object]]


def serve_echo(path: str) -> None:
    """Answer every call with its own bytes, until killed."""

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    async def serve() -> None:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Echo", {"Echo": handler}),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


async def end_one(daskd: AsyncDaskd, name: str) -> None:
    """Record a cluster, and its end."""
    spec = ClusterSpec(groups=(WorkerGroupSpec(n_workers=1),), python="/nonexistent/python", dashboard=False)
    cluster = await daskd.create(name, spec)
    await daskd.delete(cluster.uid)
    async for change in daskd.watch(cluster.uid):
        if change.cluster is not None and change.cluster.end_time is not None:
            break


async def measure(calls: dict[str, Call], count: int) -> dict[str, list[float]]:
    """Milliseconds of each call, so many times, all kinds by turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            begun = time.perf_counter()
            await call()
            taken[name].append((time.perf_counter() - begun) * 1e3)
    return taken


def show(n_clusters: int, taken: dict[str, list[float]]) -> None:
    """A line a kind of call."""
    cuts = {name: statistics.quantiles(times, n=100) for name, times in taken.items()}
    for name, cut in cuts.items():
        half, most = cut[49], cut[98]
        ratio = f"{half / cuts['echo'][49]:.1f} and {most / cuts['echo'][98]:.1f} times the echo's"
        print(f"{n_clusters:4} clusters  {name:6} p50 {half:7.2f} ms  p99 {most:7.2f} ms  {ratio}")


async def run(address: str, echo: str, sizes: list[int], count: int, python: Path) -> None:
    """Measure with each number of clusters."""
    async with AsyncDaskd(address) as daskd, grpc.aio.insecure_channel(f"unix:{echo}") as channel:
        spec = ClusterSpec(groups=(WorkerGroupSpec(n_workers=1),), python=str(python), dashboard=False)
        live = await daskd.create("live", spec)
        there, sizes_of_group = 1, iter(range(1, 1_000_000))
        call_echo = channel.unary_unary(ECHO)
        await call_echo(b"x" * 64, wait_for_ready=True)
        calls: dict[str, Call] = {
            "echo": lambda: call_echo(b"x" * 64),
            "get": lambda: daskd.get(live.uid),
            "list": lambda: daskd.list_clusters(include_ended=True),
            "scale": lambda: daskd.scale(live.uid, next(sizes_of_group) % 100),
        }
        for size in sorted(sizes):
            for n in range(there, size):
                await end_one(daskd, f"ended-{n}")
            there = max(there, size)
            await measure(calls, 20)
            show(size, await measure(calls, count))
        assert (await daskd.get(live.uid)).phase in (Phase.PENDING, Phase.STARTING)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 200])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkd-") as folder:
        python = Path(folder, "python")
        python.write_text("#!/bin/sh\nexec sleep 3600\n")
        python.chmod(0o755)
        echo = multiprocessing.get_context("spawn").Process(target=serve_echo, args=(f"{folder}/echo",), daemon=True)
        echo.start()
        with Served(Path(folder), "[clusters]\nstart_timeout = 3600\n") as served:
            asyncio.run(run(served.address, f"{folder}/echo", arguments.clusters, arguments.calls, python))
        echo.kill()


if __name__ == "__main__":
    main()
