"""A driver that never answers one call holds up nothing for good."""

from __future__ import annotations

import pytest

from daskd_client.types import ClusterSpec, Phase, WorkerGroupSpec

from .checker import breaches_at_rest
from .model.driver import AWAY, LOCAL
from .model.house import house

NEVER = 1e7
"""Seconds."""


@pytest.mark.parametrize("driver", [LOCAL, AWAY])
def test_a_cluster_starts_once_its_driver_answers(driver: str) -> None:
    """A call that is never answered is given up, whichever it was, and made again."""
    group = WorkerGroupSpec(n_workers=2, driver=driver, nthreads=1, memory_limit="256MiB")
    with house(0) as (world, loop):

        async def live() -> None:
            await world.start()
            world.faults[driver].delay = NEVER
            made = await world.ask(lambda daskd: daskd.create("etl", ClusterSpec(groups=(group,)), request_id="once"))
            await world.let(30.0)
            world.heal()
            await world.let(400.0)
            evidence = await world.evidence()
            assert breaches_at_rest(evidence) == []
            assert evidence.shown[made.uid].phase is Phase.RUNNING

        loop.run_until_complete(live())


@pytest.mark.parametrize("driver", [LOCAL, AWAY])
def test_a_cluster_ends_once_its_driver_answers(driver: str) -> None:
    """One that was being started when its driver fell silent can be deleted, and leaves nothing."""
    group = WorkerGroupSpec(n_workers=2, driver=driver, nthreads=1, memory_limit="256MiB")
    with house(0) as (world, loop):

        async def live() -> None:
            await world.start()
            made = await world.ask(lambda daskd: daskd.create("etl", ClusterSpec(groups=(group,)), request_id="once"))
            await world.let(30.0)
            world.faults[driver].delay = NEVER
            await world.ask(lambda daskd: daskd.delete(made.uid))
            await world.let(30.0)
            world.heal()
            await world.let(400.0)
            evidence = await world.evidence()
            assert breaches_at_rest(evidence) == []
            assert evidence.shown[made.uid].phase is Phase.STOPPED
            assert not world.systems.staged

        loop.run_until_complete(live())
