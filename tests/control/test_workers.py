"""What is shown of workers."""

from __future__ import annotations

import pytest
from cluster_states import cluster, node

from daskd.control.workers import views
from daskd.model.cluster import State


@pytest.mark.parametrize(("state", "shown"), [(State.RUNNING, 5000.0), (State.ENDED, None)])
def test_a_worker_shows_when_its_system_will_end_it(state: State, shown: float | None) -> None:
    """A job's walltime is that of each of its workers, until it has ended."""
    of = cluster(2, each=2)
    workers = views(of, [node(each=2, state=state, expected_end=5000.0)], {})
    assert [worker.expected_end for worker in workers] == [shown, shown]
