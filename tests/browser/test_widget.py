"""The cluster's widget in a notebook, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daskd_client import list_clusters
from daskd_client.types import Cluster

from ..daemon_process import DaemonProcess, until
from .lab import Lab, has_class

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

MAKE = """from daskd_client import RemoteCluster
cluster = RemoteCluster("etl", n_workers=1, worker={"nthreads": 1, "memory_limit": "300MiB"})
cluster"""
ATTACH = """from daskd_client import RemoteCluster
cluster = RemoteCluster.attach("etl")
client = cluster.get_client()
print("sum is", client.submit(sum, range(10)).result())"""


def told(daemon: DaemonProcess) -> Cluster:
    """What the daemon says of the one cluster that lives."""
    (cluster,) = list_clusters(daemon.address)
    return cluster


def process_of(cluster: Cluster) -> tuple[int, str]:
    """The scheduler's process and address."""
    assert cluster.scheduler is not None
    return cluster.scheduler.pid, cluster.scheduler.address


def test_the_widget_scales_and_adapts(lab: Lab, daemon: DaemonProcess, picture: Callable[..., None]) -> None:
    """What a user sets in the widget holds in the daemon, and the widget says so."""
    lab.open_notebook("widget.ipynb", MAKE, "cluster.shutdown()")
    lab.run(0)
    output = lab.output(0)
    lab.page.until_text(output, "etl")
    lab.page.until_text(output, "Workers: 1")
    picture("widget-status", output)
    lab.page.click(f"{output}//li[{has_class('lm-TabBar-tab')}][normalize-space()='Scaling']")
    lab.page.until_text(output, "Scaling mode: Manual")
    lab.page.click(f"{output}//*[normalize-space(text())='Manual Scaling']")
    lab.page.write(f"({output}//input[@type='number'])[1]", "2")
    lab.page.click(f"{output}//button[normalize-space()='Scale']")
    until(lambda: told(daemon).groups[0].desired == 2, "the daemon wants 2 workers")
    lab.page.until_text(output, "Workers: 2")
    picture("widget-scaling", output)
    lab.page.click(f"{output}//*[normalize-space(text())='Adaptive Scaling']")
    lab.page.write(f"({output}//input[@type='number'])[2]", "1")
    lab.page.write(f"({output}//input[@type='number'])[3]", "3")
    lab.page.click(f"{output}//button[normalize-space()='Adapt']")
    lab.page.until_text(output, "Scaling mode: Adaptive")
    adaptive = told(daemon).group().adaptive
    assert adaptive is not None
    assert adaptive.policy is not None
    assert (adaptive.policy.minimum, adaptive.policy.maximum) == (1, 3)
    lab.run(1)


def test_a_restarted_kernel_attaches_again(lab: Lab, daemon: DaemonProcess) -> None:
    """A kernel's restart leaves the cluster alone, and the new kernel computes on it."""
    lab.open_notebook("restart.ipynb", MAKE, ATTACH, "cluster.shutdown()")
    lab.run(0)
    before = told(daemon)
    lab.restart_kernel()
    lab.run(1)
    lab.page.until_text(lab.output(1), "sum is 45")
    after = told(daemon)
    assert (after.uid, process_of(after)) == (before.uid, process_of(before))
    lab.run(2)
