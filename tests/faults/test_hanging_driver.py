"""A driver that never answers one call holds up nothing for good."""

from __future__ import annotations

import pytest

from daskd_client.types import ClusterSpec, Phase, WorkerGroupSpec

from .checker import breaches_at_rest
from .model.driver import AWAY, LOCAL
from .model.house import House, house


async def made(world: House, driver: str) -> str:
    """The uid of a cluster of two workers there."""
    group = WorkerGroupSpec(n_workers=2, driver=driver, nthreads=1, memory_limit="256MiB")
    spec = ClusterSpec(groups=(group,))
    return (await world.ask(lambda daskd: daskd.create("etl", spec, request_id="once"))).uid


@pytest.mark.parametrize("driver", [LOCAL, AWAY])
@pytest.mark.parametrize("call", ["stage", "prepare", "launch", "observe"])
def test_a_cluster_starts_once_its_driver_answers(driver: str, call: str) -> None:
    """A call that is never answered is given up, whichever it was, told, and made again."""
    with house(0) as (world, loop):

        async def live() -> None:
            await world.start()
            world.faults[driver].hangs = call
            uid = await made(world, driver)
            await world.let(400.0)
            world.heal()
            await world.let(400.0)
            evidence = await world.evidence()
            assert breaches_at_rest(evidence) == []
            assert evidence.shown[uid].phase is Phase.RUNNING
            if call in ("stage", "prepare"):
                (told,) = {event.message for event in evidence.events[uid] if event.type == "LAUNCH_REFUSED"}
                assert told == f"the driver {driver!r} did not answer within 300 s"

        loop.run_until_complete(live())


@pytest.mark.parametrize("driver", [LOCAL, AWAY])
@pytest.mark.parametrize("call", ["terminate", "observe", "unstage"])
def test_a_cluster_ends_once_its_driver_answers(driver: str, call: str) -> None:
    """It can be deleted, and leaves nothing; what could not be removed is by the daemon's next start."""
    with house(0) as (world, loop):

        async def live() -> None:
            await world.start()
            uid = await made(world, driver)
            await world.let(30.0)
            world.faults[driver].hangs = call
            await world.ask(lambda daskd: daskd.delete(uid))
            await world.let(400.0)
            world.heal()
            await world.let(400.0)
            evidence = await world.evidence()
            assert breaches_at_rest(evidence) == []
            assert evidence.shown[uid].phase is Phase.STOPPED
            await world.kill()
            await world.start()
            await world.let(10.0)
            assert not world.systems.staged

        loop.run_until_complete(live())
