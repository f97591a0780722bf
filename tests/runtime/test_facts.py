"""The adaptive policy's facts: counted by transition, equal to a scan; what wakes the policy."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from typing import Any

import dask
import gated
from distributed import secede
from hub_cluster import a_client, a_cluster, a_hub, until, workers

from daskd.runtime.facts import UNRESTRICTED, class_of, merge_rows
from daskd.runtime.scheduler_hub import Hub


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def flaky(seed: float) -> float:
    if random.random() < 0.3:
        raise ValueError(seed)
    return seed


def scanned(hub: Hub) -> dict[Any, dict[tuple[str, str], int]]:
    """Count restricted ready tasks the slow way."""
    counts: dict[Any, Counter] = defaultdict(Counter)
    for ts in hub.scheduler.tasks.values():
        if ts.state in ("queued", "no-worker", "processing") and class_of(ts) != UNRESTRICTED:
            counts[class_of(ts)][ts.prefix.name, ts.state] += 1
    return {c: dict(n) for c, n in counts.items()}


def unrestricted_ready(hub: Hub) -> int:
    """Count unrestricted ready tasks the slow way."""
    return sum(
        ts.state in ("queued", "no-worker", "processing")
        and class_of(ts) == UNRESTRICTED
        and not (ts.processing_on and ts in ts.processing_on.long_running)
        for ts in hub.scheduler.tasks.values()
    )


def some_load(client: Any, rng: random.Random, n: int) -> list[Any]:
    """Submit tasks of every kind: restricted or not, chained, failing, impossible."""
    futures = []
    for i in range(n):
        where: dict[str, Any] = rng.choice(
            [
                {},
                {"resources": {"GPU": 1}},
                {"resources": {"TPU": 1}},
                {"workers": ["w-0"]},
                {"workers": ["w-1"], "allow_other_workers": True},
            ]
        )
        kind = rng.choice(["inc", "flaky", "add"])
        if kind == "flaky":
            futures.append(client.submit(flaky, rng.random(), pure=False, retries=2, **where))
        elif kind == "add" and len(futures) > 1:
            futures.append(client.submit(add, *rng.sample(futures, 2), **where))
        else:
            futures.append(client.submit(inc, (n, i).__hash__(), pure=False, **where))
    return futures


async def test_counts_agree_with_a_scan_under_any_load():
    """Amid errors, retries, cancels, resources and workers that go, the counter equals a full scan."""
    rng = random.Random(7)
    async with a_hub() as hub, workers(hub, 2, resources={"GPU": 1}), a_client(hub) as client:
        checks = 0
        futures: list[Any] = []
        for round_ in range(12):
            futures += some_load(client, rng, 25)
            for future in rng.sample(futures, len(futures) // 4):
                futures.remove(future)
                if rng.random() < 0.5:
                    await future.cancel()
            await until(lambda: not client.scheduler_comm.buffer)
            if round_ == 6:
                address = next(iter(hub.scheduler.workers))
                await hub.scheduler.remove_worker(address, stimulus_id="test")
            before = hub.scheduler.transition_counter
            await until(lambda before=before: hub.scheduler.transition_counter > before)
            assert hub.facts.counted() == scanned(hub)
            snapshot = hub.facts.snapshot()
            plain = [c["ready"] for c in snapshot["classes"] if not (c["resources"] or c["workers"] or c["hosts"])]
            assert sum(plain) == unrestricted_ready(hub)
            checks += bool(scanned(hub))
        assert checks > 3
        del futures
        await client.restart(wait_for_workers=False)
        assert hub.facts.counted() == scanned(hub)


async def test_the_snapshot_tells_a_class_that_nobody_serves():
    """A task whose resource nobody has is its own class, with an example, and wakes the policy once."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        wake = hub.facts.wake.count
        futures = client.map(inc, range(5), resources={"GPU": 1}, key="gpu")
        await until(lambda: len(hub.scheduler.unrunnable) == 5)
        assert hub.facts.wake.count == wake + 1
        snapshot = hub.facts.snapshot()
        (row,) = snapshot["classes"]
        assert (row["resources"], row["ready"], row["executing"]) == ({"GPU": 1.0}, 5, 0)
        assert row["unserved"] == 5
        assert row["rows"] == [[5, -1, -1]]
        assert row["example"] in {str(future.key) for future in futures}
        assert snapshot["more_work"] is True
        assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot


async def test_tasks_on_a_worker_that_can_run_them_are_not_unserved(tmp_path):
    """What waits in a worker's own queue waits for its turn; without any worker plain tasks are unserved too."""
    async with a_cluster(0) as hub, a_client(hub) as client:
        futures = client.map(inc, range(5), key="plain")
        await until(lambda: len(hub.scheduler.tasks) == 5)
        (row,) = hub.facts.snapshot()["classes"]
        assert (row["ready"], row["unserved"]) == (5, 5)
        del futures
    async with a_cluster(1) as hub, a_client(hub) as client:
        gate = tmp_path / "gate"
        futures = [client.submit(gated.behind, str(gate), n, workers=["w-0"]) for n in range(5)]
        await until(lambda: sum(len(ws.processing) for ws in hub.scheduler.workers.values()) == 5)
        (row,) = hub.facts.snapshot()["classes"]
        assert (row["workers"], row["ready"], row["unserved"]) == (["w-0"], 5, 0)
        gate.touch()
        await client.gather(futures)


async def test_a_task_that_names_a_worker_is_told_with_the_workers_name():
    """Restrictions to workers are told by name, not by an address that means nothing to the daemon."""
    async with a_cluster(2) as hub, a_client(hub) as client:
        future = client.submit(inc, 1, workers=["w-1"], resources={"NONE": 1})
        await until(lambda: future.key in {ts.key for ts in hub.scheduler.unrunnable})
        (row,) = hub.facts.snapshot()["classes"]
        assert row["workers"] == ["w-1"]


async def test_workers_and_waiting_tasks_without_workers_wake_the_policy():
    """The first task that nobody can run, a worker that comes, pauses or goes: each wakes the policy."""
    async with a_hub() as hub, a_client(hub) as client:
        counts = [hub.facts.wake.count]
        future = client.submit(inc, 1)
        await until(lambda: hub.scheduler.unrunnable or hub.scheduler.queued)
        counts.append(hub.facts.wake.count)
        async with workers(hub, 1):
            await future
            counts.append(hub.facts.wake.count)
            (ws,) = hub.scheduler.workers.values()
            hub.scheduler.handle_worker_status_change("paused", ws, "test")
            counts.append(hub.facts.wake.count)
        await until(lambda: not hub.scheduler.workers)
        counts.append(hub.facts.wake.count)
        assert counts == sorted(set(counts))


async def test_only_rows_that_changed_are_told(tmp_path):
    """A snapshot since an earlier one tells the workers that changed and those that went."""
    gate = tmp_path / "gate"
    with dask.config.set({"distributed.scheduler.worker-ttl": None}):
        async with a_cluster(2) as hub, a_client(hub) as client:
            await until(lambda: len(hub.scheduler.workers) == 2)
            first = hub.facts.snapshot()
            assert first["full"] is True
            assert sorted(row[0] for row in first["workers"]) == ["w-0", "w-1"]
            future = client.submit(gated.behind, str(gate), 1, workers=["w-1"])
            await until(lambda: hub.facts.snapshot(first["rev"])["workers"])
            second = hub.facts.snapshot(first["rev"])
            assert [row[0] for row in second["workers"]] == ["w-1"]
            assert second["workers"][0][3] == 1
            address = hub.scheduler.aliases["w-0"]
            await hub.scheduler.remove_worker(address, stimulus_id="test")
            third = hub.facts.snapshot(second["rev"])
            assert third["gone"] == ["w-0"]
            assert hub.facts.snapshot(10_000)["full"] is True
            gate.touch()
            await future


async def test_bytes_that_are_on_one_worker_only_are_told_as_unique():
    """A replicated result is no unique byte of either worker."""
    async with a_cluster(2) as hub, a_client(hub) as client:
        (shared,) = await client.scatter([bytes(5000)], broadcast=True)
        alone = await client.scatter(bytes(3000), workers=["w-0"])
        rows = {row[0]: row for row in hub.facts.snapshot()["workers"]}
        nbytes = {key: hub.scheduler.tasks[key].nbytes for key in (shared.key, alone.key)}
        assert rows["w-0"][6:8] == [sum(nbytes.values()), nbytes[alone.key]]
        assert rows["w-1"][6:8] == [nbytes[shared.key], 0]


def secede_behind(gate: str) -> int:
    secede()
    return gated.behind(gate, 1)


async def test_seceded_tasks_are_not_ready(tmp_path):
    """A long-running task is no work that a worker could take, and is told on its worker's row."""
    gate = tmp_path / "gate"
    async with a_cluster(1) as hub, a_client(hub) as client:
        future = client.submit(secede_behind, str(gate))
        await until(lambda: any(ws.long_running for ws in hub.scheduler.workers.values()))
        snapshot = hub.facts.snapshot()
        assert snapshot["classes"] == []
        assert snapshot["workers"][0][3:5] == [1, 1]
        assert snapshot["more_work"] is True
        gate.touch()
        assert await future == 1


async def test_a_worker_is_idle_since_its_last_task():
    """Idle since is null while a task is there, else the time of the last start or end."""
    async with a_cluster(1) as hub, a_client(hub) as client:
        before = hub.facts.snapshot()["workers"][0][9]
        await client.submit(inc, 1)
        after = hub.facts.snapshot()["workers"][0][9]
        assert after > before
        assert hub.facts.snapshot()["workers"][0][9] == after


def test_merged_rows_keep_tasks_and_seconds():
    """Beyond 200 prefixes rows are merged: no task and no second of work is lost, unknown stays unknown."""
    rows = [[1 + i % 7, 0.5 * (1 + i % 11), 2.0] for i in range(600)] + [[1, -1, 3.0]] * 5
    merged = merge_rows(rows)
    assert len(merged) < 250
    assert sum(row[0] for row in merged) == sum(row[0] for row in rows)
    known = [row for row in merged if row[1] > 0]
    assert abs(sum(n * m for n, m, _ in known) - sum(n * m for n, m, _ in rows if m > 0)) < 1e-6
    assert [5, -1, 3.0] in merged
