"""Dask's panel in JupyterLab, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daskd_client import RemoteCluster, list_clusters
from daskd_client.types import Cluster, Phase

from ..daemon_process import DaemonProcess, until
from .chromium import Page
from .computing import TASKS, compute_on
from .jupyter_process import JupyterProcess
from .lab import CLUSTER_MANAGER, CLUSTERS, DIALOG, PANEL, Lab, has_class

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def live(daemon: DaemonProcess) -> list[Cluster]:
    """The clusters that live, as the daemon says."""
    return [cluster for cluster in list_clusters(daemon.address) if not cluster.delete_requested]


def told(daemon: DaemonProcess, uid: str) -> Cluster:
    """What the daemon says of a live cluster."""
    return next(cluster for cluster in live(daemon) if cluster.uid == uid)


@pytest.fixture
def panel(lab: Lab) -> Lab:
    """A JupyterLab whose Dask panel is open and empty."""
    lab.open()
    lab.open_panel()
    lab.page.until_gone(CLUSTERS)
    return lab


@pytest.fixture
def made(panel: Lab, daemon: DaemonProcess) -> tuple[Cluster, str]:
    """A cluster that the panel's NEW made, and the XPath of its entry."""
    panel.page.click(f"{PANEL}//*[@data-command='dask:launch-cluster' or @title='Start New Dask Cluster']")
    return found(panel, until(lambda: running(daemon), "the daemon has a cluster")[0])


def running(daemon: DaemonProcess) -> list[Cluster]:
    """The clusters that run."""
    return [cluster for cluster in live(daemon) if cluster.phase is Phase.RUNNING]


def found(lab: Lab, cluster: Cluster) -> tuple[Cluster, str]:
    """A cluster, and the XPath of its entry in the panel, which is there."""
    assert cluster.scheduler is not None
    entry = lab.entry(cluster.scheduler.address)
    lab.page.find(entry)
    return cluster, entry


def scale(page: Page, entry: str) -> None:
    """Open the dialog to scale a cluster."""
    page.click(f"{entry}//button[normalize-space()='SCALE']")


def test_new_makes_one_that_scales(panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str]) -> None:
    """NEW makes a cluster of the daemon's, once in the list; SCALE sets how many workers it has."""
    cluster, entry = made
    scale(panel.page, entry)
    panel.page.write(f"({DIALOG}//input[@type='number'])[1]", "2")
    panel.page.click(f"{DIALOG}//button[{has_class('jp-mod-accept')}]")
    until(lambda: told(daemon, cluster.uid).groups[0].desired == 2, "the daemon wants 2 workers")
    panel.page.until_text(entry, "Number of Workers: 2")
    assert len(panel.entries()) == 1


def test_it_adapts(panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str]) -> None:
    """SCALE's adaptive half gives the daemon a policy, which the panel shows."""
    cluster, entry = made
    scale(panel.page, entry)
    panel.page.click(f"{DIALOG}//input[@type='checkbox']")
    panel.page.write(f"({DIALOG}//input[@type='number'])[3]", "3")
    panel.page.write(f"({DIALOG}//input[@type='number'])[2]", "1")
    panel.page.click(f"{DIALOG}//button[{has_class('jp-mod-accept')}]")
    panel.page.until_text(entry, "Maximum Workers: 3")

    def bounds() -> Any:
        adaptive = told(daemon, cluster.uid).group().adaptive
        return adaptive and adaptive.policy and (adaptive.policy.minimum, adaptive.policy.maximum)

    until(lambda: bounds() == (1, 3), "the daemon adapts within 1 and 3")


def test_shutdown_ends_the_cluster(panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str]) -> None:
    """SHUTDOWN is the cluster's end, not only the panel's leaving it."""
    cluster, entry = made
    panel.page.click(f"{entry}//button[normalize-space()='SHUTDOWN']")
    panel.page.until_gone(entry)
    ended = next(each for each in list_clusters(daemon.address, include_ended=True) if each.uid == cluster.uid)
    assert ended.phase is Phase.STOPPED
    assert not panel.page.driver.find_elements("xpath", DIALOG)  # of an error


def test_clusters_made_elsewhere_come_and_go(
    panel: Lab, daemon: DaemonProcess, daskctl: Callable[..., Any], picture: Callable[..., None]
) -> None:
    """A cluster made elsewhere appears under its name with its policy, which stays as it is, and goes when it ends."""
    RemoteCluster("etl", address=daemon.address, adaptive={"minimum": 1, "maximum": 2, "wait_count": 7}).close()
    cluster, entry = found(panel, running(daemon)[0])
    panel.page.until_text(entry, "etl")
    panel.page.until_text(entry, "Maximum Workers: 2")
    panel.page.until_text(entry, "Number of Workers: 1")
    picture("panel", CLUSTER_MANAGER)
    adaptive = told(daemon, cluster.uid).group().adaptive
    assert adaptive is not None
    assert adaptive.policy is not None
    assert adaptive.policy.wait_count == 7
    daskctl("delete", "etl")
    panel.page.until_gone(entry)


def test_they_are_there_after_the_servers_restart(
    panel: Lab, daemon: DaemonProcess, jupyter: JupyterProcess, made: tuple[Cluster, str]
) -> None:
    """The Jupyter server's end ends no cluster, and the next server's panel lists it."""
    cluster, _ = made
    jupyter.stop()
    jupyter.start()
    assert told(daemon, cluster.uid).phase is Phase.RUNNING
    panel.open()
    panel.open_panel()
    _, entry = found(panel, cluster)
    panel.page.until_text(entry, cluster.name)


def test_the_inserted_code_connects(panel: Lab, made: tuple[Cluster, str], daskctl: Callable[..., Any]) -> None:
    """The code that the panel inserts above a notebook's cell is a client of the cluster, over TLS."""
    cluster, entry = made
    daskctl("scale", cluster.name, "1", "--no-wait")
    panel.open_notebook("inserted.ipynb", "client.submit(sum, range(10)).result()")
    panel.open_panel()
    panel.page.click(f"{panel.cell(0)}//div[{has_class('cm-content')}]")
    panel.page.click(f"{entry}//button[{has_class('dask-ClusterListingItem-code')}]")
    panel.page.until_text(panel.cell(0), "Client(")
    panel.run(0)
    panel.run(1)
    panel.page.until_text(panel.output(1), "45")


def test_a_dashboard_opens_in_a_pane(
    panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str], picture: Callable[..., None]
) -> None:
    """The panel offers the cluster's dashboards, and one opens as a pane that draws tasks as they run."""
    cluster, entry = made
    pane = "//div[contains(@class,'dask-DaskDashboard')]//iframe"
    panel.page.click(f"{entry}//div[{has_class('dask-ClusterListingItem-title')}]")
    panel.page.click(f"{PANEL}//li[{has_class('dask-DashboardListing-item')}]//button[normalize-space()='Task Stream']")
    panel.page.within(pane, panel.page.until_plot)
    with RemoteCluster.attach(cluster.name, address=daemon.address) as attached:
        attached.scale(2)
        compute_on(attached, workers=2)
    panel.page.within(pane, lambda: panel.page.until_tasks(TASKS))
    picture("panel-dashboard")
