"""A client that is killed in the middle of its work, as a notebook on a machine that loses its power."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from distributed import Client, wait

from daskd_client import RemoteCluster

KEYS = 4

_SESSION = """
import sys, time
from distributed import Client, wait
from daskd_client import RemoteCluster

def slow(n):
    time.sleep(0.5)
    return 2 * n

cluster = RemoteCluster.attach({name!r}, address={address!r})
client = Client(cluster)
futures = client.map(slow, range({keys}), pure=False)
# the scheduler knows them all once it has answered
wait(futures[:1])
print("works", flush=True)
sys.stdin.read()
"""


def work_and_die(name: str, address: str, folder: Path) -> None:
    """Begin to compute on a cluster, in a process that is killed meanwhile."""
    script = folder / "session.py"
    # by value: nodes don't find it
    script.write_text(_SESSION.format(name=name, address=address, keys=KEYS))
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"works\n"
    finally:
        process.kill()
        process.communicate(timeout=60)


def recovered(cluster: RemoteCluster, client: Client) -> list[int]:
    """The results of what such a client left, computed to their end."""
    futures = list(cluster.recover(client).values())
    wait(futures, timeout=60)
    return sorted(future.result() for future in futures)
