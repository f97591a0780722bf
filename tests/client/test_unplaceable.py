"""The warning of tasks that no worker can ever run."""

from __future__ import annotations

import logging
import warnings

import pytest

from daskd_client import UnplaceableWork
from daskd_client.progress import describe
from daskd_client.types import Cluster, UnplaceableTasks
from daskd_client.unplaceable import UnplaceableNotice


def record(*restrictions: str, count: int = 1) -> Cluster:
    """A cluster with tasks of these restrictions that nobody can run."""
    tasks = tuple(UnplaceableTasks(count, each, "t-1", f"{count} tasks need {each}") for each in restrictions)
    return Cluster(name="etl", unplaceable_tasks=tasks)


def test_each_restriction_is_told_once_until_it_is_gone() -> None:
    """A new restriction warns, another count of it does not, and one that comes back warns again."""
    notice = UnplaceableNotice()
    with pytest.warns(UnplaceableWork, match="Cluster etl: 1 tasks need GPU 1"):
        notice.see(record("GPU 1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notice.see(record("GPU 1", count=9))
        notice.see(record())
    with pytest.warns(UnplaceableWork) as warned:
        notice.see(record("FPGA 1", "GPU 1"))
    assert len(warned) == 2


def test_what_a_cluster_does_is_told_with_what_it_cannot_run() -> None:
    """The line that describes a cluster, in errors too, says so where nothing worse hinders it."""
    assert describe(record("GPU 1")).endswith(": 1 tasks need GPU 1")


def test_where_warnings_are_errors_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A warning that is turned into an error is logged instead: it would end what follows the cluster."""
    with warnings.catch_warnings(), caplog.at_level(logging.ERROR):
        warnings.simplefilter("error")
        UnplaceableNotice().see(record("GPU 1"))
    assert "1 tasks need GPU 1" in caplog.text
