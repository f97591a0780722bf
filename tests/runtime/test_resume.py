"""A scheduler that is killed and started again goes on, by real processes; on whatever release is installed."""

from __future__ import annotations

from pathlib import Path

from gated import counted, inc
from mortal_cluster import mortal_cluster, recovered, wait_for


def test_what_is_wanted_comes_back(tmp_path: Path) -> None:
    """After kill -9 in the middle of tasks, every key that a lost client wanted comes back with its value."""
    with mortal_cluster(tmp_path) as cluster:
        client = cluster.client()
        gate = cluster.gate("a")
        done = [client.submit(counted, cluster.runs_folder, f"done-{n}", n, key=f"done-{n}") for n in range(10)]
        client.gather(done)
        waits = [client.submit(counted, cluster.runs_folder, f"wait-{n}", n, gate, key=f"wait-{n}") for n in range(4)]
        after = [client.submit(inc, future, key=f"after-{future.key}") for future in [*done, *waits]]
        wait_for(lambda: sum(name.startswith("wait") for name in cluster.runs()) == 2, "two tasks run")
        cluster.kill(client)
        Path(gate).touch()
        cluster.start_scheduler()
        assert cluster.resumed()["lost"] == 0
        with cluster.client() as other:
            futures = recovered(other)
            assert set(futures) == {future.key for future in [*done, *waits, *after]}
            values = other.gather(futures)
        assert {key: value for key, value in values.items() if key.startswith("done")} == {f"done-{n}": n for n in range(10)}
        assert {key: value for key, value in values.items() if key.startswith("after")} == {
            f"after-{kind}-{n}": n + 1 for kind, many in (("done", 10), ("wait", 4)) for n in range(many)
        }
        runs = cluster.runs()
        assert all(runs[f"done-{n}"] == 1 for n in range(10)), runs
