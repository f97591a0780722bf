"""The overrides of distributed's private methods, against whatever release is installed.

Needs no more than distributed, pytest, pytest-asyncio and pytest-timeout: the suite runs this file, and
the tests of held work and retirement, with the oldest, a middle and the newest supported release.
"""

from __future__ import annotations

import asyncio

import gated
import pytest
from distributed import Client, Nanny, Variable
from distributed.comm import Comm, CommClosedError, connect
from distributed.versions import get_versions
from hub_cluster import a_client, a_cluster, a_hub, client_process, event, lose, recovered, until

from daskd.runtime.scheduler_hub import Hub


def inc(x: int) -> int:
    return x + 1


async def registered(hub: Hub, client: str) -> Comm:
    """Connect as a client of this id by the bare protocol."""
    comm = await connect(hub.scheduler.address)
    await comm.write({"op": "register-client", "client": client, "reply": False, "versions": get_versions()})
    assert (await comm.read())[0]["op"] == "stream-start"
    return comm


async def read_to_the_end(comm: Comm) -> None:
    """Read messages until the other side closes."""
    while True:
        await comm.read()


async def test_a_killed_clients_tasks_finish_and_stay(tmp_path):
    """After kill -9 in the middle of 17 tasks all 17 finish and stay in memory."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub:
        body = f"futures = client.map(gated.behind, [{str(gate)!r}] * 17, range(17))"
        async with client_process(hub, body) as process:
            await until(lambda: len(hub.scheduler.tasks) == 17)
            process.kill()
            await until(lambda: hub.scheduler.keeper.holds)
        gate.touch()
        await until(lambda: all(ts.state == "memory" for ts in hub.scheduler.tasks.values()))
        assert hub.scheduler.keeper.counts()["keys"] == 17
        async with a_client(hub) as client:
            futures = await recovered(client)
            assert sorted(await client.gather(list(futures.values()))) == list(range(17))
        assert not hub.scheduler.keeper.holds


async def test_a_goodbye_leaves_nothing():
    """Client.close() releases its keys, and nothing is held."""
    async with a_cluster(1) as hub:
        async with a_client(hub) as client:
            future = client.submit(inc, 1)
            await future
        await until(lambda: not hub.scheduler.tasks)
        assert not hub.scheduler.keeper.holds


async def test_a_client_that_is_leaving_is_lost_though_it_closes():
    """close-client after daskd-leaving on the same stream holds the keys, the last ones too."""
    async with a_cluster(1) as hub:
        client = await Client(hub.scheduler.address, asynchronous=True)
        first = client.submit(inc, 1)
        await first
        client._send_to_scheduler({"op": "daskd-leaving"})
        second = client.submit(inc, 2)
        await client.close()
        await until(lambda: hub.scheduler.keeper.counts()["keys"] == 2)
        assert {first.key, second.key} == set(hub.scheduler.tasks)


async def test_a_hand_over_survives_the_close_that_follows():
    """Keys handed over by RPC stay when the client closes."""
    async with a_cluster(1) as hub:
        client = await Client(hub.scheduler.address, asynchronous=True)
        future = client.submit(inc, 1)
        await future
        assert await client.scheduler.daskd_hand_over(client=client.id) == 1
        await client.close()
        await until(lambda: client.id not in hub.scheduler.client_comms)
        assert hub.scheduler.keeper.counts()["keys"] == 1


async def test_clients_inside_workers_are_never_kept():
    """What a task's own client wanted is not held when that client's worker goes."""
    async with (
        a_hub() as hub,
        Nanny(hub.scheduler.address, nthreads=2, host="127.0.0.1", dashboard=False),
        a_client(hub) as client,
    ):
        assert await client.submit(gated.increment_inside, 1) == 2
        inside = [c for c in hub.scheduler.client_comms if c != client.id]
        assert len(inside) == 1
        ended = hub.scheduler._connections[inside[0]]
        hub.scheduler.client_comms[inside[0]].abort()
        await until(ended.is_set)
        assert event(hub, "held") is None


async def test_a_variable_that_is_deleted_is_no_lost_client():
    """The pseudo-clients of variables are removed without being kept."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        variable = Variable("v", client=client)
        future = client.submit(inc, 1)
        await variable.set(future)
        variable.delete()
        del future
        await until(lambda: not hub.scheduler.tasks)
        assert not hub.scheduler.keeper.holds


async def test_a_client_that_comes_back_takes_its_keys_back():
    """A broken connection under the same id gives the keys back, so that a goodbye leaves nothing."""
    async with a_cluster(1) as hub:
        client = await Client(hub.scheduler.address, asynchronous=True)
        future = client.submit(inc, 1)
        await future
        client.scheduler_comm.comm.abort()
        await until(lambda: event(hub, "held"))
        await until(lambda: client.status == "running" and event(hub, "held-recovered"))
        assert not hub.scheduler.keeper.holds
        assert future.key in hub.scheduler.tasks
        await client.close()
        await until(lambda: not hub.scheduler.tasks)


async def test_a_second_connection_under_one_id_ends_the_first():
    """A client that is back before its old connection's end was noticed keeps its new state and keys."""
    async with a_cluster(1) as hub:
        async with a_client(hub) as client:
            future = client.submit(inc, 1)
            await future
            first = await registered(hub, "c-1")
            await first.write([{"op": "client-desires-keys", "keys": [future.key], "client": "c-1"}])
            await until(lambda: hub.scheduler.clients["c-1"].wants_what)
        second = await registered(hub, "c-1")
        with pytest.raises(CommClosedError):
            await read_to_the_end(first)
        assert [ts.key for ts in hub.scheduler.clients["c-1"].wants_what] == [future.key]
        assert not hub.scheduler.keeper.holds
        await second.write([{"op": "close-client"}])
        await until(lambda: not hub.scheduler.tasks)
        await second.close()


async def test_restart_drops_held_work_and_says_so():
    """Client.restart() forgets what is held, and an event tells how much was lost."""
    async with a_cluster(1) as hub, a_client(hub) as lost, a_client(hub) as client:
        future = lost.submit(inc, 1)
        await future
        await lose(hub, lost)
        assert hub.scheduler.keeper.holds
        await client.restart(wait_for_workers=False)
        assert not hub.scheduler.keeper.holds
        assert not hub.scheduler.tasks
        assert event(hub, "held-lost")["facts"]["keys"] == 1


async def test_held_work_is_not_idle():
    """A scheduler that holds something for somebody is not idle."""
    async with a_cluster(1) as hub:
        await until(hub.scheduler.check_idle)
        async with a_client(hub) as lost:
            future = lost.submit(inc, 1)
            await future
            await lose(hub, lost)
        assert hub.scheduler.check_idle() is None
        hub.scheduler.keeper.discard()
        await until(hub.scheduler.check_idle)


async def test_shutdown_says_who_told_it_to_end():
    """Client.shutdown() is noted with the peer's address before the scheduler closes."""
    async with a_hub() as hub:
        client = await Client(hub.scheduler.address, asynchronous=True)
        await client.shutdown()
        await asyncio.wait_for(hub.scheduler.finished(), 30)
        assert hub.ended_by[0].startswith("tcp://127.0.0.1:")
        assert event(hub, "terminate")


async def test_without_http_nothing_listens_but_dasks_port():
    """serve_http=False leaves the HTTP server out, and a notebook can still show the client."""
    async with a_hub() as hub, a_client(hub) as client:
        assert "dashboard" not in hub.scheduler.services
        assert client.id in client._repr_html_()
