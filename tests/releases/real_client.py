"""Real clients of other releases of distributed, protobuf and grpcio, on a real daemon.

A cluster has the interpreter of the client that made it, so its scheduler and its workers are of that release, too.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ..daemon_process import DaemonProcess
from .environments import NAMES, python_of, source_environment

pytestmark = pytest.mark.real

SESSION = """
import distributed, sys
from daskd_client import RemoteCluster

with RemoteCluster("etl", n_workers=1, worker={"nthreads": 1, "memory_limit": "512MiB"}) as cluster:
    with cluster.get_client() as client:
        assert client.submit(sum, [1, 2]).result(60) == 3
        assert client.submit(lambda: distributed.__version__).result(60) == distributed.__version__
        assert client.run_on_scheduler(lambda: sys.executable) == sys.executable
attached = RemoteCluster.attach("etl")
attached.scale(2)
with attached.get_client() as client:
    client.wait_for_workers(2, timeout=60)
attached.shutdown()
"""


@pytest.mark.parametrize("release", NAMES)
def test_a_session_of_any_release_makes_uses_leaves_and_ends_a_cluster(
    release: str, daemon: DaemonProcess, tmp_path: Path
) -> None:
    """Create, compute, leave, attach, scale and shutdown work with a client and a runtime of each release."""
    environment = {**source_environment(), "DASKD_ADDRESS": daemon.address, "XDG_CONFIG_HOME": str(daemon.home)}
    done = subprocess.run(
        [str(python_of(release)), "-c", SESSION],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{daemon.log.read_text()[-3000:]}"
