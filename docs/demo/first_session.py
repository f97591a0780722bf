"""A session that will be killed: makes a cluster, holds futures, publishes a dataset, never says goodbye."""

from __future__ import annotations

import os
import signal
import time

from daskd_client import RemoteCluster
from work import square

started = time.monotonic()
cluster = RemoteCluster(
    "demo",
    n_workers=2,
    worker={"nthreads": 1, "memory_limit": "1GiB"},
    environment={"DEMO_RUNS": os.environ["DEMO_RUNS"]},
)
client = cluster.get_client()
client.submit(sum, [1, 2]).result()
print(f"a cluster of 2 workers gave its first result after {time.monotonic() - started:.2f} s", flush=True)

client.publish_dataset(numbers=client.submit(list, range(1000)))
print("published the dataset 'numbers'", flush=True)

futures = client.map(square, range(40), pure=False)
print(f"holding {len(futures)} futures of tasks that take half a second each", flush=True)
signal.pause()
