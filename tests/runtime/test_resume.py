"""A scheduler that is killed and started again goes on, by real processes; on whatever release is installed."""

from __future__ import annotations

import random
from pathlib import Path

import gated
import pytest
from distributed import Variable
from gated import counted, inc
from mortal_cluster import MortalCluster, mortal_cluster, recovered, wait_for


def submitted(cluster: MortalCluster, client, names, gate: str = ""):
    """Submit a counted task for each name, whose value is its name in capitals."""
    return [client.submit(counted, cluster.runs_folder, name, name.upper(), gate, key=name) for name in names]


def values(cluster: MortalCluster) -> dict:
    """Recover all that is held, by a client of its own."""
    with cluster.client() as client:
        return client.gather(recovered(client))


def test_what_is_wanted_comes_back_and_nothing_finished_runs_again(tmp_path: Path) -> None:
    """After kill -9 of scheduler and client amid tasks every key comes back right, and only what ran runs again."""
    with mortal_cluster(tmp_path) as cluster:
        client, gate = cluster.client(), cluster.gate("a")
        done = submitted(cluster, client, [f"done-{n}" for n in range(10)])
        client.gather(done)
        waits = submitted(cluster, client, [f"wait-{n}" for n in range(4)], gate)
        after = [client.submit(len, future, key=f"after-{future.key}") for future in [*done, *waits]]
        wait_for(lambda: sum(name.startswith("wait") for name in cluster.runs()) == 2, "two tasks run")
        cluster.settle(client)
        cluster.kill(client)
        Path(gate).touch()
        cluster.start_scheduler()
        assert cluster.resumed()["lost"] == 0
        found = values(cluster)
        assert found == {
            **{future.key: future.key.upper() for future in [*done, *waits]},
            **{future.key: 6 for future in after},
        }
        runs = cluster.runs()
        assert all(runs[f"done-{n}"] == 1 for n in range(10)), runs
        assert sum(runs[f"wait-{n}"] for n in range(4)) == 6


def test_what_was_released_is_not_computed(tmp_path: Path) -> None:
    """Released tasks that had not run, and released results, are not there after a kill, and never run again."""
    with mortal_cluster(tmp_path) as cluster:
        client, gate = cluster.client(), cluster.gate("a")
        blocks = submitted(cluster, client, ["block-0", "block-1"], gate)
        kept = submitted(cluster, client, ["kept"])
        for future in submitted(cluster, client, [f"gone-{n}" for n in range(20)]):
            future.release()
        cluster.settle(client)
        cluster.kill(client)
        Path(gate).touch()
        cluster.start_scheduler()
        assert set(values(cluster)) == {future.key for future in [*blocks, *kept]}
        assert not any(name.startswith("gone") for name in cluster.runs())
        wait_for(lambda: not cluster.on_scheduler(lambda dask_scheduler: dask_scheduler.tasks), "memory is free")


def test_a_key_that_was_defined_anew_has_its_last_value(tmp_path: Path) -> None:
    """A key that was released and submitted with another value does not come back with the first one."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        first = client.submit(inc, 1, key="x")
        other = client.submit(inc, 5, key="y")
        assert client.gather([first, other]) == [2, 6]
        first.release()
        wait_for(lambda: client.sync(client.scheduler.get_task_status, keys=["x"]) == {"x": None}, "x is forgotten")
        second = client.submit(inc, 10, key="x")
        assert second.result() == 11
        cluster.settle(client)
        cluster.kill(client)
        cluster.start_scheduler()
        assert cluster.resumed()["kept"] == 2
        assert values(cluster) == {"x": 11, "y": 6}


def test_a_client_that_stayed_gets_its_futures_back(tmp_path: Path) -> None:
    """A client that was connected reconnects, and recovers what it had, finished or not."""
    with mortal_cluster(tmp_path) as cluster, cluster.client() as client:
        gate = cluster.gate("a")
        futures = submitted(cluster, client, ["done"])
        client.gather(futures)
        futures += submitted(cluster, client, ["wait"], gate)
        cluster.settle(client)
        cluster.kill()
        cluster.start_scheduler()
        wait_for(lambda: all(future.status == "cancelled" for future in futures), "the client notices")
        wait_for(lambda: client.status == "running", "the client is connected again")
        back = recovered(client)
        Path(gate).touch()
        assert client.gather(back) == {"done": "DONE", "wait": "WAIT"}
        assert cluster.runs()["done"] == 1


def test_it_may_die_at_any_moment_and_again(tmp_path: Path) -> None:
    """Killed thrice, amid submission and amid going on, what comes back is right and finished work is not repeated."""
    chance = random.Random(7)
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        first = submitted(cluster, client, [f"first-{n}" for n in range(20)])
        client.gather(first)
        cluster.settle(client)
        client.map(inc, range(2000), key=[f"m-{n}" for n in range(2000)], batch_size=100)
        wait_for(lambda: chance.random() < 0.2, "a moment")
        cluster.kill(client)
        for _ in range(2):
            cluster.start_scheduler()
            wait_for(lambda: chance.random() < 0.3, "a moment")
            cluster.kill()
        cluster.start_scheduler()
        cluster.resumed()
        found = values(cluster)
        assert {key: value for key, value in found.items() if key.startswith("first")} == {
            f"first-{n}": f"FIRST-{n}" for n in range(20)
        }
        assert all(value == int(key[2:]) + 1 for key, value in found.items() if key.startswith("m-"))
        assert set(cluster.runs().values()) == {1}
        with cluster.client() as other:
            again = other.map(inc, range(2000), key=[f"m-{n}" for n in range(2000)], batch_size=100)
            assert other.gather(again) == list(range(1, 2001))


def test_workers_that_went_on_are_workers_like_others(tmp_path: Path) -> None:
    """A worker that outlived its scheduler can be restarted, and retired: its process ends then."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        before = set(client.run(gated.os.getpid).values())
        assert client.submit(inc, 1).result(60) == 2
        cluster.kill(client)
        cluster.start_scheduler()
        cluster.resumed()
        with cluster.client() as other:
            other.wait_for_workers(2, timeout=60)
            assert set(other.run(gated.os.getpid).values()) == before
            other.restart(timeout=60)
            after = set(other.run(gated.os.getpid).values())
            assert before.isdisjoint(after)
            cluster.settle(other)
        cluster.kill()
        cluster.start_scheduler()
        with cluster.client() as other:
            other.wait_for_workers(2, timeout=60)
            assert set(other.run(gated.os.getpid).values()) == after
            other.retire_workers()
        wait_for(lambda: cluster.node.poll() is not None, "its workers were told to close, and the node ends")
        assert cluster.node.returncode == 0


def damaged(cluster: MortalCluster, how: str) -> None:
    """Do something to the journal."""
    path = cluster.journal / "journal"
    data = bytearray(path.read_bytes())
    if how == "torn":
        del data[-7:]
    elif how == "flipped":
        data[len(data) // 2] ^= 0x10
    elif how == "foreign":
        data = bytearray(b"SQLite format 3\0" + bytes(4000))
    elif how == "empty":
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["torn", "flipped", "foreign", "empty", "none"])
def test_a_journal_that_is_damaged_is_told_and_never_wrong(tmp_path: Path, how: str) -> None:
    """Whatever became of the journal the scheduler starts, says so, gives no wrong value, and works."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        futures = submitted(cluster, client, [f"k-{n}" for n in range(10)])
        client.gather(futures)
        cluster.settle(client)
        cluster.kill(client)
        if how == "none":
            (cluster.journal / "journal").unlink()
        else:
            damaged(cluster, how)
        cluster.start_scheduler()
        if how in ("torn", "flipped"):
            event = wait_for(lambda: cluster.events().get("resumed"), "it goes on")
            assert "damaged" in event["words"] if how == "flipped" else "not finished" in event["words"]
        elif how != "none":
            assert "the journal" in cluster.events()["not-resumed"]["words"]
        found = values(cluster)
        assert all(value == key.upper() for key, value in found.items())
        assert (len(found) >= 9) if how == "torn" else (not found) == (how != "flipped")
        with cluster.client() as other:
            assert other.submit(inc, 1).result(60) == 2


def test_scattered_data_stays_with_the_worker_that_has_it(tmp_path: Path) -> None:
    """Scattered data, and tasks that depend on it, come back while a worker that holds it lives."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        [data] = client.scatter([20])
        waits = client.submit(counted, cluster.runs_folder, "w", 1, cluster.gate("a"), key="wait")
        total = client.submit(sum, [data, waits], key="total")
        cluster.settle(client)
        cluster.kill(client)
        Path(cluster.gate("a")).touch()
        cluster.start_scheduler()
        assert values(cluster) == {data.key: 20, "wait": 1, total.key: 21}


def test_what_can_not_come_back_is_named(tmp_path: Path) -> None:
    """An actor's state is its worker's alone: it is told as lost, by name, and not made anew."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        actor = client.submit(gated.Counter, actor=True, key="the-counter")
        wait_for(lambda: actor.status == "finished", "it is there")
        kept = client.submit(inc, 1, key="kept")
        kept.result()
        cluster.settle()
        cluster.kill(client)
        cluster.start_scheduler()
        event = wait_for(lambda: cluster.events().get("resumed"), "it goes on")
        assert (event["facts"]["lost"], "the-counter" in event["words"]) == (1, True)
        assert values(cluster) == {"kept": 2}


def test_what_is_registered_comes_back(tmp_path: Path) -> None:
    """Published datasets, variables and plugins are there again."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        future = client.submit(counted, cluster.runs_folder, "set", [1, 2], key="set")
        client.publish_dataset(numbers=future)
        client.publish_dataset(gone=client.submit(inc, 7))
        client.unpublish_dataset("gone")
        Variable("v", client=client).set(5)
        Variable("f", client=client).set(future)
        client.register_plugin(gated.Deadly(), name="deadly")
        cluster.settle()
        cluster.kill(client)
        cluster.start_scheduler()
        assert cluster.resumed()["lost"] == 0
        with cluster.client() as other:
            assert other.list_datasets() == ("numbers",)
            assert other.get_dataset("numbers").result(60) == [1, 2]
            assert Variable("v", client=other).get(timeout=60) == 5
            assert Variable("f", client=other).get(timeout=60).result(60) == [1, 2]
        assert cluster.on_scheduler(lambda dask_scheduler: "deadly" in dask_scheduler.plugins)
        assert cluster.runs()["set"] == 1


def test_work_that_kills_the_scheduler_is_set_aside(tmp_path: Path) -> None:
    """After three deaths the last graph is set aside and named, and the rest goes on."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        good = client.submit(inc, 1, key="good")
        good.result()
        client.register_plugin(gated.Deadly(), name="deadly")
        cluster.settle(client)
        client.submit(inc, 2, key="deadly-1")
        cluster.scheduler.wait(60)
        client.status = "closing"
        for _ in range(2):
            cluster.start_scheduler()
            cluster.scheduler.wait(60)
        cluster.start_scheduler()
        event = wait_for(lambda: cluster.events().get("set-aside"), "it is told")
        assert "deadly-1" in event["words"]
        assert values(cluster) == {"good": 2}


def test_a_journal_that_grows_too_large_is_given_up_and_told(tmp_path: Path) -> None:
    """Beyond its bound the journal is given up, in words; once no task is left it is kept again."""
    with mortal_cluster(tmp_path) as cluster:
        cluster.kill()
        cluster.start_scheduler(max_bytes=100_000)
        with cluster.client() as client:
            futures = client.map(len, [bytes(50_000) + bytes([n]) for n in range(10)])
            client.gather(futures)
            wait_for(lambda: cluster.events().get("not-resumable"), "it is told")
            given_up = cluster.on_scheduler(lambda dask_scheduler: dask_scheduler.resumable)
            assert not given_up[0]
            assert "MiB" in given_up[1]
        wait_for(lambda: cluster.events().get("resumable"), "it is kept again")
        assert (cluster.journal / "journal").stat().st_size < 100_000


def test_a_journal_is_compacted(tmp_path: Path) -> None:
    """What is released leaves the journal, which stays small however much goes through; and it is still right."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        kept = client.submit(inc, 41, key="kept")
        for round_ in range(6):
            futures = client.map(len, [bytes(2_000_000) + bytes([round_, n]) for n in range(2)])
            client.gather(futures)
            del futures
        path = cluster.journal / "journal"
        wait_for(lambda: path.stat().st_size < 14_000_000, "it is compacted, of more than 24 MB")
        assert path.stat().st_mode & 0o777 == 0o600
        cluster.settle(client)
        cluster.kill(client)
        cluster.start_scheduler()
        assert cluster.resumed()["graphs"] < 6
        assert values(cluster)[kept.key] == 42


def test_without_a_journal_the_work_ends_with_the_scheduler(tmp_path: Path) -> None:
    """A scheduler that keeps no journal has workers that end with it, and its successor begins empty."""
    with mortal_cluster(tmp_path) as cluster:
        cluster.kill()
        cluster.start_scheduler(journal=False)
        client = cluster.client()
        client.submit(inc, 1, key="x").result(60)
        before = set(client.run(gated.os.getpid).values())
        cluster.kill(client)
        cluster.start_scheduler(journal=False)
        assert values(cluster) == {}
        with cluster.client() as other:
            other.wait_for_workers(2, timeout=60)
            assert before.isdisjoint(other.run(gated.os.getpid).values())
