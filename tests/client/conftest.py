"""A real daemon for a whole module, and clusters of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from daskd_client import RemoteCluster

from ..daemon_process import DaemonProcess, daemon_process


@pytest.fixture(scope="module")
def shared_daemon() -> Iterator[DaemonProcess]:
    """A daemon that a module's tests share; tests that harm it have one of their own."""
    with daemon_process() as process:
        process.start()
        yield process


@pytest.fixture
def name() -> str:
    """A name for a cluster."""
    return f"c-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make(shared_daemon: DaemonProcess) -> Iterator[Callable[..., Any]]:
    """Makes objects of the shared daemon's clusters; the clusters end with the test."""
    made: list[RemoteCluster] = []

    def make_cluster(*args: Any, how: Callable[..., Any] = RemoteCluster, **kwargs: Any) -> Any:
        cluster = how(*args, address=shared_daemon.address, **kwargs)
        made.append(cluster)
        return cluster

    yield make_cluster
    for cluster in made:
        if cluster.uid and not cluster.record.ended and not cluster.asynchronous:
            cluster.shutdown()


@pytest.fixture
def attach(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes objects for clusters that are there."""
    return partial(make, how=RemoteCluster.attach)
