"""What a wait waits for, as a table."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from daskctl import waiting
from daskd_client.types import Cluster, Phase, WorkerGroupStatus

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


def _cluster(phase: Phase, *groups: WorkerGroupStatus, ended: bool = False) -> Cluster:
    return Cluster(uid="c1", name="etl", phase=phase, groups=groups, end_time=NOW if ended else None)


def _group(desired: int, running: int, ending: int = 0, name: str = "default") -> WorkerGroupStatus:
    return WorkerGroupStatus(name=name, desired=desired, running=running, ending=ending)


@pytest.mark.parametrize(
    ("cluster", "reached"),
    [
        (_cluster(Phase.PENDING), False),
        (_cluster(Phase.STARTING, _group(0, 0)), False),
        (_cluster(Phase.RUNNING, _group(2, 1)), False),
        (_cluster(Phase.RUNNING, _group(2, 2)), True),
        (_cluster(Phase.RUNNING, _group(1, 2)), True),
        (_cluster(Phase.RUNNING, _group(2, 2), _group(1, 0, name="highmem")), False),
        (_cluster(Phase.RUNNING, _group(0, 0)), True),
        (_cluster(Phase.STOPPING, _group(2, 2)), False),
    ],
)
def test_a_cluster_has_started_when_it_runs_with_every_groups_workers(cluster: Cluster, reached: bool) -> None:
    """Those that it should have by now, which an adaptive policy may have changed."""
    assert waiting.started().reached(cluster) is reached


@pytest.mark.parametrize(
    ("cluster", "group", "reached"),
    [
        (_cluster(Phase.RUNNING, _group(3, 2)), "", False),
        (_cluster(Phase.RUNNING, _group(3, 3)), "", True),
        (_cluster(Phase.RUNNING, _group(3, 4)), "", False),
        (_cluster(Phase.RUNNING, _group(3, 3, ending=1)), "", False),
        (_cluster(Phase.RUNNING, _group(5, 0)), "", True),
        (_cluster(Phase.RUNNING, _group(3, 3), _group(3, 1, name="highmem")), "highmem", False),
        (_cluster(Phase.RUNNING, _group(3, 1), _group(3, 3, name="highmem")), "highmem", True),
        (_cluster(Phase.RUNNING, _group(3, 3), _group(3, 1, name="highmem")), "", True),
    ],
)
def test_a_group_is_scaled_when_it_has_its_workers_and_none_is_on_the_way_out(
    cluster: Cluster, group: str, reached: bool
) -> None:
    """Or when it was told to have another number meanwhile: then there is nothing left to wait for."""
    assert waiting.scaled(group, 3).reached(cluster) is reached


@pytest.mark.parametrize(
    ("cluster", "reached"),
    [
        (_cluster(Phase.RUNNING), False),
        (_cluster(Phase.STOPPING), False),
        (_cluster(Phase.FAILED), False),
        (_cluster(Phase.FAILED, ended=True), True),
        (_cluster(Phase.STOPPED), True),
    ],
)
def test_a_cluster_has_ended_when_nothing_of_it_runs(cluster: Cluster, reached: bool) -> None:
    """One that failed may still be on its way there."""
    assert waiting.ended().reached(cluster) is reached
    assert not waiting.hopeless(cluster, waiting.ended())


@pytest.mark.parametrize(
    ("phase", "hopeless"),
    [
        (Phase.PENDING, False),
        (Phase.RUNNING, False),
        (Phase.STOPPING, False),
        (Phase.STOPPED, True),
        (Phase.FAILED, True),
    ],
)
def test_an_ended_cluster_never_gets_its_workers(phase: Phase, hopeless: bool) -> None:
    """So nobody waits for them for ever; one that stops is yet to say whether it failed."""
    assert waiting.hopeless(Cluster(phase=phase), waiting.started()) is hopeless


def test_progress_tells_phase_counts_and_what_hinders() -> None:
    """In the driver's own words."""
    group = WorkerGroupStatus("default", desired=4, running=1, message="the queue is full")
    words = waiting.progress(_cluster(Phase.RUNNING, group), waiting.started())
    assert words == "Waiting until etl runs with its workers: running, 1/4 workers (default: the queue is full)"
