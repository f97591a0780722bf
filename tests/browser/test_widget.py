"""The cluster's widget in a notebook, in a real browser."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from daskd_client import list_clusters
from daskd_client.types import Cluster

from ..daemon_process import DaemonProcess, until
from .lab import Lab, has_class

pytestmark = pytest.mark.browser

MAKE = """from daskd_client import RemoteCluster
cluster = RemoteCluster({name!r}, n_workers=1, worker={{"nthreads": 1, "memory_limit": "300MiB"}})
cluster"""
ATTACH = """from daskd_client import RemoteCluster
cluster = RemoteCluster.attach({name!r})
client = cluster.get_client()
print("sum is", client.submit(sum, range(10)).result())"""


@pytest.fixture
def name() -> str:
    """A name for a cluster."""
    return f"c-{uuid.uuid4().hex[:8]}"


def told(daemon: DaemonProcess, name: str) -> Cluster:
    """What the daemon says of a live cluster."""
    return next(cluster for cluster in list_clusters(daemon.address) if cluster.name == name)


def test_the_widget_scales_and_adapts(lab: Lab, daemon: DaemonProcess, name: str, picture: Callable[..., None]) -> None:
    """What a user sets in the widget holds in the daemon, and the widget says so."""
    lab.open_notebook("widget.ipynb", MAKE.format(name=name), "cluster.shutdown()")
    lab.run(0)
    output = lab.output(0)
    lab.page.until_text(output, name)
    picture("widget-status", output)
    lab.page.click(f"{output}//li[{has_class('lm-TabBar-tab')}][normalize-space()='Scaling']")
    lab.page.until_text(output, "Scaling mode: Manual")
    lab.page.click(f"{output}//*[normalize-space(text())='Manual Scaling']")
    lab.page.write(f"({output}//input[@type='number'])[1]", "2")
    lab.page.click(f"{output}//button[normalize-space()='Scale']")
    until(lambda: told(daemon, name).groups[0].desired == 2, "the daemon wants 2 workers")
    lab.page.until(lambda: lab.page.text(output).split("Workers: ")[1].split()[0] == "2", "2 workers are there")
    picture("widget-scaling", output)
    lab.page.click(f"{output}//*[normalize-space(text())='Adaptive Scaling']")
    lab.page.write(f"({output}//input[@type='number'])[2]", "1")
    lab.page.write(f"({output}//input[@type='number'])[3]", "3")
    lab.page.click(f"{output}//button[normalize-space()='Adapt']")
    lab.page.until_text(output, "Scaling mode: Adaptive")
    adaptive = told(daemon, name).adaptive
    assert adaptive is not None
    assert adaptive.policy is not None
    assert (adaptive.policy.minimum, adaptive.policy.maximum) == (1, 3)
    lab.run(1)


def test_a_restarted_kernel_attaches_again(lab: Lab, daemon: DaemonProcess, name: str) -> None:
    """A kernel's restart leaves the cluster alone, and the new kernel computes on it."""
    lab.open_notebook("restart.ipynb", MAKE.format(name=name), ATTACH.format(name=name), "cluster.shutdown()")
    lab.run(0)
    before = told(daemon, name)
    lab.restart_kernel()
    lab.run(1)
    lab.page.until_text(lab.output(1), "sum is 45")
    after = told(daemon, name)
    assert (after.uid, after.scheduler) == (before.uid, before.scheduler)
    lab.run(2)
