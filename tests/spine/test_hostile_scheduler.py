"""A scheduler whose users' code answers the daemon what it likes: its cluster is told as that, and no other suffers."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from distributed.security import Security

from daskd_client import AsyncDaskd
from daskd_client.types import ClusterSpec, Phase, WorkerGroupSpec

from ..daemon_process import DaemonProcess, daemon_process
from .killed_daemon import check_gone, converged, eventually

pytestmark = pytest.mark.real

GIB = 1 << 30
STATE = b'{"rev": %d, "t": 1, "phase": "running", "address": "tls://127.0.0.1:1", %s}'


class Evil:
    """What a pickle runs when it is loaded: the end of the process that loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def http(body: bytes) -> bytes:
    """An answer with a body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


NONSENSE: dict[str, tuple[bytes, int, str]] = {
    "a pickle": (pickle.dumps(Evil()), 1, "no HTTP"),
    "a pickle in HTTP": (http(pickle.dumps(Evil())), 1, "no JSON"),
    "garbage": (b"\0\xff garbage \r\n" * 100, 1, "no HTTP"),
    "a gigabyte": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (1 << 20), 1 << 10, "how long"),
    "endless headers": (b"HTTP/1.1 100 Continue\r\n\r\n" * (1 << 15), 1 << 10, "announces another"),
}


@pytest.fixture(scope="module")
def served() -> Iterator[DaemonProcess]:
    """One daemon for all tests of this module that a process runs; what does not end is soon killed."""
    with daemon_process("[clusters]\ngrace = 1\n") as daemon:
        daemon.start()
        yield daemon


def of(n: int) -> ClusterSpec:
    """A cluster of so many small workers."""
    return ClusterSpec(groups=(WorkerGroupSpec(n_workers=n, nthreads=1, memory_limit="256MiB"),))


@asynccontextmanager
async def client_of(daskd: AsyncDaskd, uid: str) -> AsyncIterator[Client]:
    """A Dask client of a cluster."""
    connection = await daskd.connection(uid)
    security = Security(
        tls_ca_file=connection.tls_ca_certificate,
        tls_client_cert=connection.tls_client_certificate,
        tls_client_key=connection.tls_client_key,
        require_encryption=True,
    )
    async with Client(connection.scheduler_address, security=security, asynchronous=True) as client:
        yield client


def answering(data: bytes, times: int) -> Callable[..., None]:
    """Code for a scheduler: from now on its link answers with these bytes, so many times, whatever is asked."""

    def patch(dask_scheduler: Any) -> None:
        import asyncio
        import gc
        from contextlib import suppress

        from daskd_runtime import link  # type: ignore[import-not-found]
        from daskd_runtime.changes import Changes  # type: ignore[import-not-found]

        async def send(stream: Any) -> None:
            with suppress(Exception):
                for _ in range(times):
                    await stream.write(data)
            stream.close()

        def prepare(handler: Any) -> None:
            handler.sending = asyncio.ensure_future(send(handler.detach()))

        link.LinkHandler.honest = link.LinkHandler.prepare
        link.LinkHandler.prepare = prepare
        # whoever waits for news is answered, and asks again
        for thing in gc.get_objects():
            if type(thing) is Changes:
                thing.raise_()

    return patch


def mend() -> Callable[..., None]:
    """Code for a scheduler: its link is as it was."""

    def patch(dask_scheduler: Any) -> None:
        from daskd_runtime import link

        link.LinkHandler.prepare = link.LinkHandler.honest

    return patch


def blocking(gate: str) -> Callable[..., None]:
    """Code for a scheduler: its event loop stands still until there is a file of that name."""

    def block(dask_scheduler: Any) -> None:
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.05)

    return block


async def is_silent(daskd: AsyncDaskd, uid: str) -> bool:
    """Whether it is told as one that does not answer."""
    return (await daskd.get(uid)).reason == "SCHEDULER_SILENT"


async def is_well(daskd: AsyncDaskd, uid: str) -> bool:
    """Whether it runs and nothing is said against it."""
    cluster = await daskd.get(uid)
    return cluster.phase is Phase.RUNNING and not cluster.reason


async def types_of_events(daskd: AsyncDaskd, uid: str) -> list[str]:
    """The types of a cluster's events, oldest first."""
    return [event.type for event in await daskd.events(uid)]


async def check_still_told(daskd: AsyncDaskd, uid: str) -> None:
    """What does not depend on the link: its workers, its events, its logs."""
    await asyncio.wait_for(daskd.workers(uid), 30)
    assert "SCHEDULER_SILENT" in await types_of_events(daskd, uid)
    assert [line async for line in daskd.logs(uid, scheduler=True, tail=5)]


async def check_delete(daemon: DaemonProcess, daskd: AsyncDaskd, uid: str) -> None:
    """It can be deleted, and nothing of it is left."""
    await daskd.delete(uid)

    async def is_over() -> bool:
        return (await daskd.get(uid)).phase is Phase.STOPPED

    await eventually(is_over, "it has ended")
    await check_gone(daemon, uid)


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_is_told_harms_no_other_and_is_forgiven(served: DaemonProcess, what: str) -> None:
    """A link that answers nonsense is told in words; another cluster is made meanwhile; sense is heard again."""
    data, times, words = NONSENSE[what]
    async with AsyncDaskd(served.address) as daskd:
        bad = await daskd.create("", of(0))
        await eventually(lambda: is_well(daskd, bad.uid), "it runs")
        async with client_of(daskd, bad.uid) as client:
            await client.run_on_scheduler(answering(data, times))
            await eventually(lambda: is_silent(daskd, bad.uid), "it is told as silent")
            assert re.search(words, (await daskd.get(bad.uid)).message)
            good = await daskd.create("", of(0))
            await eventually(lambda: is_well(daskd, good.uid), "another cluster is made")
            await check_still_told(daskd, bad.uid)
            await client.run_on_scheduler(mend())
            await eventually(lambda: is_well(daskd, bad.uid), "it is heard again")
        assert (await types_of_events(daskd, bad.uid))[-1] == "SCHEDULER_HEARD"
        await check_delete(served, daskd, bad.uid)
        await check_delete(served, daskd, good.uid)


async def test_a_blocked_scheduler_holds_up_nobody_and_recovers(served: DaemonProcess, tmp_path: Path) -> None:
    """A scheduler whose loop stands still is told as silent; other clusters are scaled meanwhile; it comes back."""
    async with AsyncDaskd(served.address) as daskd:
        bad, good = await daskd.create("", of(1)), await daskd.create("", of(0))
        await eventually(lambda: converged(daskd, bad.uid, 1), "it runs")
        before = [worker.instance for worker in await daskd.workers(bad.uid)]
        async with client_of(daskd, bad.uid) as client:
            blocked = asyncio.ensure_future(client.run_on_scheduler(blocking(str(tmp_path / "gate"))))
            try:
                await eventually(lambda: is_silent(daskd, bad.uid), "it is told as silent")
                await daskd.scale(good.uid, 1)
                await eventually(lambda: converged(daskd, good.uid, 1), "the other is scaled up")
                await daskd.scale(bad.uid, 2)
                await check_still_told(daskd, bad.uid)
            finally:
                (tmp_path / "gate").touch()
            await blocked
        await eventually(lambda: converged(daskd, bad.uid, 2), "it is heard again, and has grown")
        assert before[0] in [worker.instance for worker in await daskd.workers(bad.uid)], "nothing was ended for it"
        assert "SCHEDULER_HEARD" in await types_of_events(daskd, bad.uid)
        await check_delete(served, daskd, bad.uid)
        await check_delete(served, daskd, good.uid)


async def test_a_blocked_scheduler_can_be_deleted(served: DaemonProcess, tmp_path: Path) -> None:
    """A cluster whose scheduler's loop stands still is ended without it."""
    async with AsyncDaskd(served.address) as daskd:
        bad = await daskd.create("", of(1))
        await eventually(lambda: converged(daskd, bad.uid, 1), "it runs")
        async with client_of(daskd, bad.uid) as client:
            blocked = asyncio.ensure_future(client.run_on_scheduler(blocking(str(tmp_path / "gate"))))
            try:
                await check_delete(served, daskd, bad.uid)
            finally:
                (tmp_path / "gate").touch()
                blocked.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await blocked
        assert [line async for line in daskd.logs(bad.uid, scheduler=True)]


async def test_what_no_database_can_hold_ends_no_pass(served: DaemonProcess) -> None:
    """A scheduler that tells text which is no Unicode, and floods of events, can be scaled and deleted all the same."""
    events = b", ".join(
        b'{"seq": %d, "t": 1, "type": "x\\udfff", "words": "\\ud800", "facts": {"\\ud800": [1e5]}}' % n
        for n in range(1000, 1400)
    )
    document = STATE % (77, b'"events": [%s]' % events)
    async with AsyncDaskd(served.address) as daskd:
        bad = await daskd.create("", of(0))
        await eventually(lambda: is_well(daskd, bad.uid), "it runs")
        async with client_of(daskd, bad.uid) as client:
            await client.run_on_scheduler(answering(http(document), 1))

            async def is_recorded() -> bool:
                return any(kind.startswith("X") for kind in await types_of_events(daskd, bad.uid))

            # the answer to hello is nonsense now; the state's is not, and is heard on the connection that follows it
            await eventually(is_recorded, "its events are recorded")
            await check_delete(served, daskd, bad.uid)
