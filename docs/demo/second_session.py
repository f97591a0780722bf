"""The session after: attaches, has the first one's work back, and watches the daemon scale the cluster."""

from __future__ import annotations

import time

from daskd_client import RemoteCluster
from work import cube

cluster = RemoteCluster.attach("demo")
client = cluster.get_client()
print(f"attached to {cluster.name}: {cluster.scheduler_address}", flush=True)

futures = cluster.recover(client)
print(f"recovered {len(futures)} futures of the session that was killed", flush=True)
squares = client.gather(list(futures.values()))
assert sorted(squares) == sorted(x * x for x in range(40)), squares
print("gathered them: every result is right", flush=True)

dataset = client.get_dataset("numbers")
assert dataset.result() == list(range(1000))
print("the dataset 'numbers' is there", flush=True)
print("everything is back", flush=True)


def wait_for(n: int, what: str) -> None:
    """Wait until the cluster has that many workers (at least, growing; at most, shrinking)."""
    begun = time.monotonic()
    while len(cluster.scheduler_info["workers"]) != n:
        if time.monotonic() - begun > 90:
            raise SystemExit(f"not within 90 s: {what}")
        time.sleep(0.05)
    print(f"{what} after {time.monotonic() - begun:.2f} s", flush=True)


# with a duration given, workers are asked for even where they take long to start
cluster.adapt(minimum=1, maximum=4, target_duration="1s")
cubes = client.map(cube, range(300), pure=False)
wait_for(4, "adaptive: scaled up to 4 workers")
assert client.gather(cubes) == [x**3 for x in range(300)]
print("gathered 300 results more", flush=True)
wait_for(1, "adaptive: scaled down to 1 worker")
assert client.gather(cubes) == [x**3 for x in range(300)]
print("done: all results are still there, moved to the worker that stayed", flush=True)
client.close()
cluster.close()
