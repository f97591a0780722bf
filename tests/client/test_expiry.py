"""The warning of a cluster's end, in the process of whoever is attached."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from daskd_client import AsyncDaskd, ClusterExpiring
from daskd_client.types import Cluster, ClusterSpec, Phase
from daskd_client.view import ClusterView

END = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def cluster(left: timedelta, warning: timedelta | None = 10 * MINUTE) -> Cluster:
    """A cluster that was last heard of so long before its end."""
    spec = ClusterSpec(max_lifetime=timedelta(hours=12), lifetime_warning=warning)
    return Cluster(uid="c1", name="etl", phase=Phase.RUNNING, spec=spec, expire_time=END, update_time=END - left)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (cluster(11 * MINUTE), False),
        (cluster(10 * MINUTE), True),
        (cluster(MINUTE), True),
        (cluster(MINUTE, timedelta(0)), False),
        (cluster(MINUTE, None), False),
        (replace(cluster(MINUTE), expire_time=None), False),
        (Cluster(), False),
    ],
)
def test_a_record_says_whether_its_end_was_warned_of(of: Cluster, expected: bool) -> None:
    """By the daemon's clock alone: when it last changed, when it ends, how long before that is told."""
    assert of.expiring is expected


@pytest.fixture
def view() -> ClusterView:
    """What an object knows of its cluster, of which it was told nothing yet."""
    return ClusterView(AsyncDaskd("unix:/nonexistent"), lambda: None)


def test_the_user_is_warned_once_of_each_end(view: ClusterView) -> None:
    """However often the record changes; another end is another warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for record in (cluster(11 * MINUTE), cluster(9 * MINUTE), cluster(8 * MINUTE)):
            view.take(record)
        later = replace(cluster(MINUTE), expire_time=END + MINUTE)
        view.take(later)
        view.take(replace(cluster(MINUTE), expire_time=END + 2 * MINUTE, delete_requested=True))
    assert [each.category for each in caught] == [ClusterExpiring, ClusterExpiring]
    assert "Cluster 'etl' ends at" in str(caught[0].message)


def test_warnings_that_are_raised_do_not_stop_what_follows_the_cluster(view: ClusterView) -> None:
    """Under `-W error` the record is taken all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view.take(cluster(MINUTE))
    assert view.record == cluster(MINUTE)
