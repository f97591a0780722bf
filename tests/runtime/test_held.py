"""Held work: what lost clients wanted, its ways back and its bounds."""

from __future__ import annotations

import dask
import gated
import pytest
from distributed import Client
from hub_cluster import a_client, a_cluster, client_process, event, lose, recovered, until, workers

from daskd.runtime.keeper import HeldBounds, is_worker_client


def inc(x: int) -> int:
    return x + 1


def sized(n: int) -> bytes:
    return bytes(n)


async def test_whatever_a_killed_client_wanted_is_held(tmp_path):
    """All keys of a killed process are held: running, waiting, finished, erred, persisted, an actor's."""
    gate = tmp_path / "gate"
    body = f"""
        import dask
        from distributed import wait
        running = client.submit(gated.behind, {str(gate)!r}, 1, key="running")
        waiting = client.submit(gated.inc, running, key="waiting")
        finished = client.submit(gated.inc, 1, key=("finished", 0))
        erred = client.submit(gated.fail, 1, key="erred", pure=False)
        actor = client.submit(gated.Counter, actor=True, key="actor")
        persisted = client.persist(dask.delayed(gated.inc)(5, dask_key_name="persisted"))
        computed = client.compute(dask.delayed(gated.inc)(6, dask_key_name="computed"))
        wait([finished, erred, actor, persisted, computed])
    """
    async with a_cluster(2) as hub:
        async with client_process(hub, body) as process:
            process.kill()
            await until(lambda: hub.scheduler.keeper.holds)
        document = hub.scheduler.keeper.document()["clients"][0]
        assert document["keys"] == 7
        assert document["states"]["erred"] == 1
        assert document["expires"] == pytest.approx(document["since"] + 86400, abs=5)
        gate.touch()
        async with a_client(hub) as client:
            futures = await recovered(client)
            assert await futures["waiting"] == 2
            assert await futures["finished", 0] == 2
            assert sorted([await futures["persisted"], await futures["computed"]]) == [6, 7]
            with pytest.raises(RuntimeError, match="failed on purpose"):
                await futures["erred"]
            actor = await futures["actor"]
            assert await actor.increment() == 1
            del actor, futures
        await until(lambda: not hub.scheduler.tasks)


async def test_running_the_same_again_joins_what_runs(tmp_path):
    """A client that submits a held key takes it, nothing is computed twice, and its goodbye frees it."""
    gate = tmp_path / "gate"
    async with a_cluster(1) as hub:
        async with a_client(hub) as lost:
            future = lost.submit(gated.behind, str(gate), 3)
            await until(lambda: future.key in hub.scheduler.tasks)
            run = hub.scheduler.tasks[future.key]
            await lose(hub, lost)
        async with a_client(hub) as client:
            again = client.submit(gated.behind, str(gate), 3)
            await until(lambda: not hub.scheduler.keeper.holds)
            assert hub.scheduler.tasks[again.key] is run
            gate.touch()
            assert await again == 3
        await until(lambda: not hub.scheduler.tasks)
        await until(lambda: event(hub, "held-recovered"))
        assert event(hub, "held-recovered")["facts"]["keys"] == 1


async def test_a_key_of_two_lost_clients_is_counted_once_and_needs_both_to_go():
    """Each lost client holds the shared key; discarding one client's work leaves it to the other."""
    async with a_cluster(1) as hub:
        async with a_client(hub) as first, a_client(hub) as second:
            a, b = first.submit(sized, 1000), second.submit(sized, 1000)
            await a, await b
            await lose(hub, first)
            await lose(hub, second)
        keeper = hub.scheduler.keeper
        nbytes = hub.scheduler.tasks[a.key].nbytes
        assert keeper.counts() == {"clients": 2, "keys": 1, "bytes": nbytes}
        assert [c["keys"] for c in keeper.document()["clients"]] == [1, 1]
        assert keeper.discard(first.id) == {"keys": 1, "bytes": nbytes}
        assert keeper.counts()["keys"] == 1
        keeper.discard(second.id)
        await until(lambda: not hub.scheduler.tasks)
        assert not any(key.startswith("daskd-held-") for key in hub.scheduler.clients)


async def test_what_a_living_client_wants_too_is_held_beyond_its_goodbye():
    """A lost client's key that another client wanted before stays when that one says goodbye."""
    async with a_cluster(1) as hub:
        async with a_client(hub) as lost, a_client(hub) as other:
            a, b = lost.submit(inc, 1), other.submit(inc, 1)
            await a, await b
            await lose(hub, lost)
        assert list(hub.scheduler.tasks) == [a.key]
        assert hub.scheduler.keeper.counts()["keys"] == 1


async def test_recovering_one_lost_client_leaves_the_others():
    """recover(lost=[id]) hands over that client's keys alone."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        async with a_client(hub) as first, a_client(hub) as second:
            a, b = first.submit(inc, 1), second.submit(inc, 2)
            await a, await b
            await lose(hub, first)
            await lose(hub, second)
        futures = await recovered(client, [first.id])
        assert list(futures) == [a.key]
        assert [c["client"] for c in hub.scheduler.keeper.document()["clients"]] == [second.id]
        held = await client.scheduler.daskd_held()
        assert list(held["clients"][0]["keys"]) == [b.key]


async def test_recovering_for_a_client_that_is_not_there_is_refused():
    """Nothing is handed to an unknown client, whose keys nobody would ever release."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        with pytest.raises(ValueError, match="not connected"):
            await client.scheduler.daskd_recover(client="nobody")


async def test_held_results_lost_with_a_worker_are_computed_again():
    """The loss of the only worker that has a held result makes it be computed again."""
    async with a_cluster(0) as hub, workers(hub, 1) as (first,):
        async with a_client(hub) as lost:
            future = lost.submit(inc, 1)
            await future
            await lose(hub, lost)
        await hub.scheduler.remove_worker(first.address, stimulus_id="test")
        assert hub.scheduler.tasks[future.key].state != "memory"
        async with workers(hub, 1, name="w-9"), a_client(hub) as client:
            futures = await recovered(client)
            assert await futures[future.key] == 2


async def test_held_data_that_cannot_be_computed_again_is_reported_lost():
    """Scattered data that went with its worker, and what was to be made of it, is told in an event."""
    async with a_cluster(0) as hub, workers(hub, 1) as (first,):
        async with a_client(hub) as lost:
            data = await lost.scatter({"data": 1})
            await lose(hub, lost)
        assert hub.scheduler.keeper.counts()["keys"] == len(data)
        await hub.scheduler.remove_worker(first.address, stimulus_id="test")
        told = await until(lambda: event(hub, "held-lost"))
        assert told["facts"]["sample"] == ["data"]
        assert hub.scheduler.keeper.document()["lost"][0]["keys"] == 1
        assert not hub.scheduler.keeper.holds


async def test_held_work_is_let_go_after_its_time():
    """At the bound of time the keys are released, and an event says so."""
    async with a_cluster(1, held=HeldBounds(seconds=0.0)) as hub:
        async with a_client(hub) as lost:
            future = lost.submit(inc, 1)
            await future
            await lose(hub, lost)
        await until(lambda: not hub.scheduler.tasks)
        assert event(hub, "held-expired")["facts"]["keys"] == 1


async def test_beyond_its_share_of_memory_the_client_lost_first_is_let_go_first():
    """When held results fill too much memory, the oldest client's go, and no more than needed."""
    bounds = HeldBounds(memory_share=0.5)
    async with a_cluster(1, worker={"memory_limit": 1_000_000}, held=bounds) as hub:
        kept = []
        for n in (300_000, 200_000, 100_000):
            async with a_client(hub) as lost:
                future = lost.submit(sized, n)
                await future
                await lose(hub, lost)
            kept.append(lost.id)
        await until(lambda: event(hub, "held-expired"))
        hub.scheduler.keeper.tick()
        assert [c["client"] for c in hub.scheduler.keeper.document()["clients"]] == kept[1:]
        assert "50%" in event(hub, "held-expired")["words"]


async def test_a_cancelled_held_key_is_not_held_any_more():
    """Client.cancel(force=True) of a held key empties its holder, which then is gone."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        async with a_client(hub) as lost:
            future = lost.submit(inc, 1)
            await future
            await lose(hub, lost)
        futures = await recovered(client)
        async with a_client(hub) as also_lost:
            again = also_lost.submit(inc, 1)
            await again
            await lose(hub, also_lost)
        assert hub.scheduler.keeper.counts()["keys"] == 1
        await client.cancel(list(futures.values()), force=True)
        await until(lambda: not hub.scheduler.keeper.holds)
        await until(lambda: not any(c.startswith("daskd-held-") for c in hub.scheduler.clients))


async def test_a_client_that_wanted_nothing_leaves_no_trace():
    """A lost client without keys is not listed."""
    async with a_cluster(0) as hub:
        async with a_client(hub) as lost:
            await lose(hub, lost)
        assert hub.scheduler.keeper.document()["clients"] == []
        assert event(hub, "held") is None


async def test_hundreds_of_keys_taken_one_by_one_are_few_events():
    """Events tell of takings in bulk, so that they don't push each other out."""
    async with a_cluster(2) as hub:
        async with a_client(hub) as lost:
            futures = [lost.submit(inc, i) for i in range(300)]
            await lost.gather(futures)
            await lose(hub, lost)
        async with a_client(hub) as client:
            again = [client.submit(inc, i) for i in range(299)]
            await until(lambda: hub.scheduler.keeper.counts()["keys"] == 1)
            assert len(again) == 299

        def told() -> list[int]:
            return [e["facts"]["keys"] for e in hub.journal.events if e["type"] == "held-recovered"]

        await until(lambda: sum(told()) == 299)
        assert len(told()) < 20


@pytest.mark.parametrize(
    ("client", "inside"),
    [
        ("Client-worker-6f48bfc0-e835-11f1-9fe6-02fc00000001", True),
        ("Client-6f48bfc0-e835-11f1-9fe6-02fc00000001", False),
        ("Client-my-worker-bench-6f48bfc0-e835-11f1-9fe6-02fc00000001", False),
        ("variable-worker-x", False),
    ],
)
def test_worker_clients_are_known_by_their_id(client, inside):
    """Only the ids that get_client makes inside a task are taken for those of workers."""
    assert is_worker_client(client) is inside


async def test_graphs_in_flight_when_the_client_dies_are_held():
    """What a client had sent before its connection broke is taken in and held."""
    async with a_cluster(1) as hub:
        client = await Client(hub.scheduler.address, asynchronous=True)
        comm = client.scheduler_comm
        written = comm.byte_count
        values = client.compute([dask.delayed(inc)(i) for i in range(20)])
        # the buffer is empty before its contents are written: the count alone tells that they are
        await until(lambda: comm.byte_count > written and not comm.buffer)
        client.status = "closing"
        await client.scheduler_comm.comm.close()
        await until(lambda: hub.scheduler.keeper.counts()["keys"] == len(values))
        await client.close()
