"""Who waits for workers is told why they don't come: which wait is given up as hopeless, as rules and for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from distributed import Client

from daskd_client import ClusterFailed, DeadlineExceeded, WorkersFailing
from daskd_client.types import Cluster, WorkerGroupStatus
from daskd_client.waiting import FAILS_REPEATEDLY, FAILS_WITHOUT_ANY, FailureWatch

from ..daemon_process import DaemonProcess

Make = Callable[..., Any]

BROKEN = {"PYTHONHOME": "/nonexistent"}  # no Python starts with it
SMALL = {"nthreads": 1, "memory_limit": "256MiB"}


def daskctl(daemon: DaemonProcess, *argv: str) -> subprocess.CompletedProcess[str]:
    """What the command line says."""
    command = [sys.executable, "-m", "daskctl", *argv]
    return subprocess.run(command, env=daemon.env, capture_output=True, text=True, timeout=150, check=False)


def failing(failures: int, running: int = 0, name: str = "default") -> Cluster:
    """A cluster whose group failed so often."""
    group = WorkerGroupStatus(name=name, desired=2, running=running, failures=failures, message="no GPU here")
    return Cluster(name="etl", groups=(group,))


@pytest.mark.parametrize(
    ("before", "now", "wanted", "is_hopeless"),
    [
        (0, failing(FAILS_REPEATEDLY - 1, running=1), 2, False),
        (0, failing(FAILS_REPEATEDLY, running=1), 2, True),
        (0, failing(FAILS_REPEATEDLY, running=1), 1, False),
        (0, failing(FAILS_WITHOUT_ANY - 1), 2, False),
        (0, failing(FAILS_WITHOUT_ANY), 2, True),
        (8, failing(8, running=1), 2, False),
        (8, failing(9, running=1), 2, True),
        (1, failing(FAILS_REPEATEDLY, running=1), 2, True),
    ],
)
def test_a_wait_is_hopeless_by_new_failures_alone(before: int, now: Cluster, wanted: int, is_hopeless: bool) -> None:
    """Some in a row, the last of them since the wait began; and only where workers of that group are waited for."""
    why = FailureWatch(failing(before)).hopeless(now, {"default": wanted})
    assert bool(why) is is_hopeless
    assert not why or "no GPU here" in why


def test_a_success_meanwhile_is_a_new_beginning() -> None:
    """Failures that were overcome while somebody waits don't count any more."""
    watch = FailureWatch(failing(9))
    assert not watch.hopeless(failing(0, running=1), {"default": 2})
    assert not watch.hopeless(failing(FAILS_REPEATEDLY - 1, running=1), {"default": 2})
    assert watch.hopeless(failing(FAILS_REPEATEDLY, running=1), {"default": 2})


def test_workers_that_cannot_run_fail_the_wait_for_them(make: Make, name: str) -> None:
    """A cluster that never gets a worker: the wait, without a time-out, raises what the worker's own log says."""
    cluster = make(name, n_workers=1, worker={**SMALL, "environment": BROKEN})
    with pytest.raises(ClusterFailed, match="default-"):
        cluster.wait_for_workers(1)


def test_workers_of_a_group_that_cannot_run_fail_the_wait_for_them(
    make: Make, name: str, shared_daemon: DaemonProcess
) -> None:
    """A cluster that has workers goes on, and those who wait for more than it can have are told why; others are not."""
    groups = {
        "good": {"n_workers": 1, "worker": SMALL},
        "bad": {"n_workers": 1, "worker": {**SMALL, "environment": BROKEN}},
    }
    cluster = make(name, groups=groups)
    with Client(cluster) as client:
        client.wait_for_workers(1, timeout=60)
        with pytest.raises(WorkersFailing, match="'bad' failed to start") as raised:
            client.wait_for_workers(2)
        client.wait_for_workers(1, timeout=60)
    assert "Fatal Python error" in str(raised.value)
    scaled = daskctl(shared_daemon, "scale", name, "2", "--group", "bad")
    assert scaled.returncode == 1
    assert "group 'bad' failed to start" in scaled.stderr
    late = daskctl(shared_daemon, "scale", name, "2", "--group", "bad", "--timeout", "0s")
    assert late.returncode == 1
    assert "bad-" in late.stderr.partition("; the daemon goes on. ")[2]
    assert f"daskctl events {name}" in str(raised.value)


def test_a_wait_that_takes_too_long_names_who_is_missing(make: Make, name: str) -> None:
    """How many came, which did not, and since when they are on their way; and whether so many were asked for at all."""
    cluster = make(name, n_workers=1, worker=SMALL)
    cluster.wait_for_workers(1, timeout=60)
    with pytest.raises(DeadlineExceeded, match=r"1 of 2 workers joined within 0\.5 s\. the cluster shall have 1"):
        cluster.wait_for_workers(2, timeout=0.5)
    failing_later = make(f"{name}-2", n_workers=1, worker={**SMALL, "environment": BROKEN})
    with pytest.raises(DeadlineExceeded, match="0 of 1 workers joined"):
        failing_later.wait_for_workers(1, timeout=0)
