"""Dask's panel in JupyterLab, in a real browser."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daskd_client import AsyncDaskd, list_clusters
from daskd_client.types import Cluster, Phase

from ..daemon_process import DaemonProcess, until
from .chromium import Page
from .jupyter_process import JupyterProcess
from .lab import CLUSTERS, DIALOG, PANEL, Lab, has_class

pytestmark = pytest.mark.browser


def live(daemon: DaemonProcess) -> list[Cluster]:
    """The clusters that live, as the daemon says."""
    return [cluster for cluster in list_clusters(daemon.address) if not cluster.delete_requested]


def told(daemon: DaemonProcess, uid: str) -> Cluster:
    """What the daemon says of a live cluster."""
    return next(cluster for cluster in live(daemon) if cluster.uid == uid)


@pytest.fixture(autouse=True)
def no_clusters(daemon: DaemonProcess) -> Iterator[None]:
    """No cluster outlives its test."""
    yield

    async def delete() -> None:
        async with AsyncDaskd(daemon.address) as daskd:
            for cluster in await daskd.list_clusters():
                await daskd.delete(cluster.uid)

    asyncio.run(delete())
    until(lambda: not list_clusters(daemon.address), "no cluster is left")


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


def test_new_makes_one_that_scales(
    panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str], picture: Callable[..., None]
) -> None:
    """NEW makes a cluster of the daemon's, once in the list; SCALE sets how many workers it has."""
    cluster, entry = made
    scale(panel.page, entry)
    panel.page.write(f"({DIALOG}//input[@type='number'])[1]", "2")
    panel.page.click(f"{DIALOG}//button[{has_class('jp-mod-accept')}]")
    until(lambda: told(daemon, cluster.uid).groups[0].desired == 2, "the daemon wants 2 workers")
    panel.page.until_text(entry, "Number of Workers: 2")
    assert len(panel.entries()) == 1
    picture("panel", PANEL)


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
        adaptive = told(daemon, cluster.uid).adaptive
        return adaptive and adaptive.policy and (adaptive.policy.minimum, adaptive.policy.maximum)

    until(lambda: bounds() == (1, 3), "the daemon adapts within 1 and 3")


def test_shutdown_ends_the_cluster(panel: Lab, daemon: DaemonProcess, made: tuple[Cluster, str]) -> None:
    """SHUTDOWN is the cluster's end, not only the panel's leaving it."""
    cluster, entry = made
    panel.page.click(f"{entry}//button[normalize-space()='SHUTDOWN']")
    panel.page.until_gone(entry)
    ended = next(each for each in list_clusters(daemon.address, include_ended=True) if each.uid == cluster.uid)
    assert ended.phase is Phase.STOPPED


def test_clusters_of_others_making_come_and_go(panel: Lab, daemon: DaemonProcess, daskctl: Callable[..., Any]) -> None:
    """A cluster made by the command line appears under its name with its policy, and goes when it is ended there."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    daskctl("create", name)
    daskctl("adapt", name, "--min", "1", "--max", "2")
    cluster, entry = found(panel, running(daemon)[0])
    panel.page.until_text(entry, name)
    daskctl("delete", name)
    panel.page.until_gone(entry)
    assert cluster.uid not in {each.uid for each in live(daemon)}


def test_they_are_there_after_the_servers_restart(
    panel: Lab, daemon: DaemonProcess, jupyter: JupyterProcess, made: tuple[Cluster, str]
) -> None:
    """The Jupyter server's end ends no cluster, and the next server's panel lists it."""
    cluster, _ = made
    jupyter.stop()
    jupyter.start()
    assert told(daemon, cluster.uid).scheduler == cluster.scheduler
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


def test_a_dashboard_opens_in_a_pane(panel: Lab, made: tuple[Cluster, str], picture: Callable[..., None]) -> None:
    """The panel offers the cluster's dashboards, and each opens as a pane in which plots are drawn."""
    _, entry = made
    panel.page.click(f"{entry}//div[{has_class('dask-ClusterListingItem-title')}]")
    panel.page.click(f"{PANEL}//li[{has_class('dask-DashboardListing-item')}]//button[normalize-space()='Task Stream']")
    panel.page.find("//div[contains(@class,'dask-DaskDashboard')]//iframe")
    panel.page.within("//div[contains(@class,'dask-DaskDashboard')]//iframe", panel.page.until_plot)
    picture("panel-dashboard")
