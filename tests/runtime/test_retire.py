"""Retiring workers: drained first, told per worker, nothing lost, nothing held against a task."""

from __future__ import annotations

import gated
from distributed import Client, Future, Nanny, Status, secede
from hub_cluster import a_client, a_cluster, a_hub, event, until, workers

from daskd.runtime.scheduler_hub import Hub


def inc(x: int) -> int:
    return x + 1


def secede_behind(gate: str) -> int:
    secede()
    return gated.behind(gate, 1)


def begin(hub: Hub, *names: str, drain: float = 60, if_idle_rev: int | None = None) -> dict[str, str]:
    """Begin to retire workers; each one's state."""
    answer = hub.retirement.begin(names, drain, if_idle_rev)
    return {name: row["state"] for name, row in answer.items()}


def left(hub: Hub) -> dict[str, str]:
    """Workers that left and why."""
    return {entry["name"]: entry["why"] for entry in hub.state.left}


def worker_of(hub: Hub, name: str):
    """The scheduler's view of a worker, or None."""
    return hub.scheduler.workers.get(hub.scheduler.aliases.get(name))


async def running_on(hub: Hub, client: Client, name: str, gate: str) -> Future:
    """Submit a task behind a gate and wait until it runs on a worker, which it prefers."""
    future = client.submit(gated.behind, gate, 0, workers=[name], allow_other_workers=True)
    await until(lambda: worker_of(hub, name).executing)
    return future


async def test_an_idle_worker_retires_with_its_results_moved():
    """What only the retired worker held is on another worker afterwards, not computed again."""
    async with a_cluster(2) as hub, a_client(hub) as client:
        future = client.submit(inc, 1, workers=["w-1"])
        await future
        assert begin(hub, "w-1") == {"w-1": "draining"}
        await until(lambda: left(hub).get("w-1") == "retired")
        assert begin(hub, "w-1", "w-7") == {"w-1": "retired", "w-7": "unknown"}
        assert hub.scheduler.tasks[future.key].state == "memory"
        assert await future == 2
        assert [row["name"] for row in hub.state_document()["workers"]] == ["w-0"]


async def test_a_busy_worker_finishes_what_runs_and_gets_nothing_new(tmp_path):
    """A drained worker ends its running task; what it had not started runs on others meanwhile."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub, a_client(hub) as client:
        running = await running_on(hub, client, "w-1", str(gate))
        queued = [client.submit(inc, i, workers=["w-1"], allow_other_workers=True, pure=False) for i in range(5)]
        await until(lambda: len(worker_of(hub, "w-1").processing) > 1)
        assert begin(hub, "w-1") == {"w-1": "draining"}
        assert await client.gather(queued) == [1, 2, 3, 4, 5]
        more = client.map(inc, range(100, 120))
        await client.gather(more)
        assert {ts.key for ts in worker_of(hub, "w-1").processing} == {running.key}
        assert hub.state_document()["workers"][0]["retire"] or hub.state_document()["workers"][1]["retire"]
        gate.touch()
        await until(lambda: left(hub).get("w-1") == "retired")
        assert await running == 0
        assert event(hub, "retire-cut") is None


async def test_at_the_bound_what_runs_is_cut_off_told_and_not_held_against_it(tmp_path):
    """A task cut off by a scale-down runs again elsewhere, an event names it, its failures don't count."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub, a_client(hub) as client:
        running = await running_on(hub, client, "w-1", str(gate))
        begin(hub, "w-1", drain=0.2)
        told = await until(lambda: event(hub, "retire-cut"))
        assert told["facts"]["sample"] == [running.key]
        gate.touch()  # a worker in the test's process can't be killed: it waits for its thread
        await until(lambda: left(hub).get("w-1") == "retired")
        assert await running == 0
        assert hub.scheduler.tasks[running.key].suspicious == 0


async def test_actors_are_refused():
    """A worker with an actor is not retired, goes on working, and the answer says why."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        actor = await client.submit(gated.Counter, actor=True)
        answer = hub.retirement.begin(["w-0"], 1)
        assert answer["w-0"]["state"] == "refused"
        assert "actors" in answer["w-0"]["words"]
        assert await actor.increment() == 1
        assert worker_of(hub, "w-0").status.name == "running"


async def test_long_running_tasks_are_refused_even_if_they_secede_while_it_drains(tmp_path):
    """A task that secedes during the drain stops the retirement, and its worker runs on."""
    gate = tmp_path / "gate"
    async with a_cluster(1) as hub, a_client(hub) as client:
        future = client.submit(secede_behind, str(gate))
        await until(lambda: worker_of(hub, "w-0").processing)
        state = begin(hub, "w-0")["w-0"]
        assert state in ("draining", "refused")
        told = await until(lambda: event(hub, "retire-refused"))
        assert "long-running" in told["words"]
        await until(lambda: worker_of(hub, "w-0").status.name == "running")
        gate.touch()
        assert await future == 1
        assert await client.submit(inc, 1) == 2


async def test_the_last_worker_with_results_is_refused_and_works_on():
    """Where nobody could take a worker's results, it stays and takes tasks again."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        future = client.submit(inc, 1)
        await future
        begin(hub, "w-0")
        told = await until(lambda: event(hub, "retire-refused"))
        assert "could not be moved" in told["words"]
        assert await client.submit(inc, 10) == 11


async def test_the_last_worker_without_results_retires_and_its_queue_waits(tmp_path):
    """Scaling to nothing keeps what was not started, for workers to come."""
    gate = tmp_path / "gate"
    async with a_hub() as hub, a_client(hub) as client:
        async with workers(hub, 1):
            futures = client.map(gated.behind, [str(gate)] * 3, range(3))
            await until(lambda: worker_of(hub, "w-0").executing)
            begin(hub, "w-0", drain=0)
            assert (await until(lambda: event(hub, "retire-cut")))["facts"]["tasks"] >= 1
            gate.touch()
            await until(lambda: left(hub).get("w-0") == "retired")
        async with workers(hub, 1, name="w-9"):
            assert await client.gather(futures) == [0, 1, 2]


async def test_a_worker_that_got_work_since_the_decision_is_refused(tmp_path):
    """if_idle_rev refuses a worker that works, or worked since the snapshot that called it idle."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub, a_client(hub) as client:
        rev = hub.facts.snapshot()["rev"]
        future = client.submit(gated.behind, str(gate), 1, workers=["w-1"])
        await until(lambda: worker_of(hub, "w-1").processing)
        later = hub.facts.snapshot()["rev"]
        assert begin(hub, "w-1", if_idle_rev=later) == {"w-1": "refused"}
        gate.touch()
        await future
        assert begin(hub, "w-1", if_idle_rev=rev) == {"w-1": "refused"}
        assert begin(hub, "w-1", if_idle_rev=hub.facts.snapshot()["rev"]) == {"w-1": "draining"}
        await until(lambda: left(hub).get("w-1") == "retired")


async def test_workers_of_one_instance_begin_together_or_not_at_all(tmp_path):
    """Where one has work, the idle one of the same instance stays with it; one of another instance goes."""
    gate = tmp_path / "gate"
    async with a_cluster(3) as hub, a_client(hub) as client:
        for instance, names in (("i-1", ["w-0", "w-1"]), ("i-2", ["w-2"])):
            hub.roster.join(instance=instance, incarnation=0, group="g", workers=names, pid=1, host="h")
        running = await running_on(hub, client, "w-1", str(gate))
        rev = hub.facts.snapshot()["rev"]
        states = begin(hub, "w-0", "w-1", "w-2", if_idle_rev=rev)
        assert states == {"w-0": "refused", "w-1": "refused", "w-2": "draining"}
        assert "together with w-1" in hub.retirement.begin(["w-0", "w-1"], 60, rev)["w-0"]["words"]
        assert worker_of(hub, "w-0").status == Status.running
        gate.touch()
        assert await running == 0
        now = hub.facts.snapshot()["rev"]
        await until(lambda: left(hub).get("w-2") == "retired")
        async with workers(hub, 1, name="w-9"):
            await until(lambda: worker_of(hub, "w-9").status == Status.running)
            assert begin(hub, "w-0", "w-1", if_idle_rev=now) == {"w-0": "draining", "w-1": "draining"}
            await until(lambda: {"w-0", "w-1"} <= left(hub).keys())


async def test_a_repeat_goes_on_and_does_not_begin_anew(tmp_path):
    """Asking again for a worker that drains answers how far it is and starts nothing."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub, a_client(hub) as client:
        running = await running_on(hub, client, "w-1", str(gate))
        begin(hub, "w-1")
        assert begin(hub, "w-1", drain=0) == {"w-1": "draining"}
        gate.touch()
        await until(lambda: left(hub).get("w-1") == "retired")
        assert await running == 0


async def test_workers_that_retire_together_do_not_take_each_others_results():
    """Of three workers two retire at once: all results end on the one that stays."""
    async with a_cluster(3) as hub, a_client(hub) as client:
        futures = [client.submit(inc, i, workers=[f"w-{i % 3}"], pure=False) for i in range(9)]
        await client.gather(futures)
        begin(hub, "w-1", "w-2")
        await until(lambda: left(hub).get("w-1") == left(hub).get("w-2") == "retired")
        assert await client.gather(futures) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert {ts.state for ts in hub.scheduler.tasks.values()} == {"memory"}


async def test_a_worker_that_dies_while_it_drains_is_removed_not_retired(tmp_path):
    """A worker's death during its drain is told as such."""
    gate = tmp_path / "gate"
    async with a_cluster(2) as hub, a_client(hub) as client:
        running = await running_on(hub, client, "w-1", str(gate))
        begin(hub, "w-1")
        address = hub.scheduler.aliases["w-1"]
        await hub.scheduler.remove_worker(address, stimulus_id="died")
        await until(lambda: hub.retirement.of(address) is None)
        assert left(hub) == {"w-1": "removed"}
        gate.touch()
        assert await running == 0


async def test_a_worker_process_that_retires_is_not_started_again(tmp_path):
    """The nanny of a retired worker closes with it and starts no other, though a task was cut off."""
    gate = tmp_path / "gate"
    async with (
        a_cluster(1) as hub,
        a_client(hub) as client,
        Nanny(hub.scheduler.address, nthreads=1, name="n-0", host="127.0.0.1", dashboard=False) as nanny,
    ):
        running = await running_on(hub, client, "n-0", str(gate))
        begin(hub, "n-0", drain=0)
        await until(lambda: left(hub).get("n-0") == "retired")
        gate.touch()
        await until(lambda: nanny.status == Status.closed)
        assert await running == 0
        assert list(hub.scheduler.aliases) == ["w-0"]
