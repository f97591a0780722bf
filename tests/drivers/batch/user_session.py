"""What a user does with a cluster of jobs, as a program of that user's: `user_session.py VERB`, DASKD_ADDRESS is set.

It says what it has come to in lines, and goes on when it reads one.
"""

from __future__ import annotations

import sys
import time

from distributed import Client

from daskd_client import RemoteCluster
from tests.daemon_process import until

NAME = "sim"
SLOW = 240.0


def slowly(x: int) -> int:
    time.sleep(0.5)
    return x + 1


def workers(client: Client) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


def compute() -> None:
    """A computation in whose middle something may happen: every result comes, from the same workers."""
    with RemoteCluster(NAME, profile="jobs", n_workers=2) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=90)
        before = workers(client)
        futures = client.map(slowly, range(20))
        client.submit(slowly, 0, pure=False).result(timeout=90)
        say("computing")
        sys.stdin.readline()
        assert client.gather(futures) == list(range(1, 21))
        assert workers(client) == before
        say("computed")


def adapt() -> None:
    """More workers while there are tasks for them; one stays when there are none."""
    cluster = RemoteCluster.attach(NAME)
    assert "worker-started" in str(cluster.get_logs())
    cluster.adapt(minimum=1, maximum=3, cool_down="5s")
    with Client(cluster) as client:
        futures = client.map(slowly, range(100, 300))
        until(lambda: len(workers(client)) == 3, "three work", SLOW)
        assert client.gather(futures) == list(range(101, 301))
        del futures
        until(lambda: len(workers(client)) == 1, "two have retired", SLOW)
    say("adapted")


def end() -> None:
    """The cluster is deleted."""
    RemoteCluster.attach(NAME).shutdown()
    say("ended")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"compute": compute, "adapt": adapt, "end": end}[sys.argv[1]]()
