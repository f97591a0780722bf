"""Dask's dashboard, by the link that the cluster object gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess
from .chromium import Page
from .computing import TASKS, compute_on

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(daemon: DaemonProcess) -> Iterator[RemoteCluster]:
    """A running cluster with a worker."""
    made = RemoteCluster(n_workers=1, address=daemon.address, worker={"nthreads": 1, "memory_limit": "300MiB"})
    yield made
    made.shutdown()


def test_the_dashboard_link_leads_to_the_dashboard(page: Page, cluster: RemoteCluster) -> None:
    """`dashboard_link` is a page of Dask's that draws tasks as they run."""
    page.driver.get(cluster.dashboard_link)
    page.until(lambda: page.driver.title.startswith("Dask"), "the page has Dask's title")
    page.until_plot()
    compute_on(cluster, workers=1)
    page.until_tasks(TASKS)
