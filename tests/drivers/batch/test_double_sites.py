"""Jobs on doubles of batch systems: how they wait, pause and end, and what others can see of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Observation, Result, Site, Wait
from daskd.model.cluster import Cause, Handle, State

from ..bench import all_in, observed, stored, until
from ..conformance.harnesses import HARNESSES
from ..conformance.jobs import JobsHarness
from .double_lab import Double

pytestmark = pytest.mark.systems

HOLDS = {"lsf": "-H", "moab": "-h", "oar": "--hold", "pbs": "-h", "torque": "-h"}
PLACES = {
    "lsf": "$LSB_JOBINDEX",
    "moab": "0",
    "oar": "$OAR_ARRAY_INDEX",
    "pbs": "$PBS_ARRAY_INDEX",
    "torque": "$PBS_ARRAYID",
}
"""What says a job's place in its array; a job of Moab's is alone."""

PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(params=sorted(HOLDS))
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobsHarness]:
    """Each double's in turn."""
    async with HARNESSES[request.param](tmp_path) as made:
        assert isinstance(made, JobsHarness)
        yield made


def double_of(harness: JobsHarness) -> Double:
    assert isinstance(harness.system, Double)
    return harness.system


async def launched(harness: JobsHarness, n: int = 1, **options: Any) -> tuple[Site, list[Handle]]:
    site = await harness.open()
    batch = harness.bench.batch(n, harness.group(options={"queue": "main", **options}))
    return site, await harness.bench.launch(site, batch)


async def comes_to(site: Site, handle: Handle, state: State) -> Observation:
    """What is seen of one, once it is so, by whatever remembers it."""
    for _ in range(600):
        snapshot = await site.observe([handle], deep=True)
        if snapshot.complete and snapshot.seen[0].state is state:
            return snapshot.seen[0]
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within a minute {state}: {snapshot}")


async def test_what_is_held_says_so_and_goes_when_it_is_told_to(harness: JobsHarness) -> None:
    """A hold is told as one; a job that waits is ended at once, and its sibling stays."""
    site, handles = await launched(harness, 2, job_extra_directives=[HOLDS[harness.driver.name]])
    seen = await observed(site, handles, lambda seen: all(one.wait for one in seen.values()), "both wait")
    assert {one.wait for one in seen.values()} == {Wait.HELD}
    await site.terminate(handles[:1])
    [gone, stays] = (await site.observe(handles)).seen
    assert gone.end is not None
    assert (gone.end.cause, stays.state) == (Cause.CANCELLED, State.QUEUED)


async def test_a_paused_job_is_no_ended_one(harness: JobsHarness) -> None:
    """What its system stopped is told as such, and stays."""
    site, handles = await launched(harness)
    await all_in(site, handles, State.RUNNING)
    double_of(harness).pause()
    seen = await all_in(site, handles, State.PAUSED)
    assert seen[handles[0].id].end is None


async def test_a_walltimes_end_is_known_before_and_told_after(harness: JobsHarness) -> None:
    """When it will be over is told while it runs; then the limit is the cause, where the system tells one."""
    site, [handle] = await launched(harness, walltime=3600)
    seen = await comes_to(site, handle, State.RUNNING)
    assert seen.started is not None
    assert seen.expected_end is not None
    assert abs(seen.expected_end - seen.started - 3600) < 30
    # OAR sends no notice
    double_of(harness).expire(signal.SIGKILL if harness.driver.name == "oar" else signal.SIGTERM)
    end = (await comes_to(site, handle, State.ENDED)).end
    assert end is not None
    # a supervisor that got a notice tells of an end in order, and nobody else is asked
    assert end.cause is (Cause.EXITED if harness.driver.name in ("moab", "pbs") else Cause.TIME_LIMIT)


async def test_what_can_never_run_is_refused_for_good(harness: JobsHarness) -> None:
    """Of an unknown queue the system's word is the answer, and nothing was submitted."""
    site = await harness.open()
    batch = harness.bench.batch(1, harness.group(options={"queue": "nope"}))
    await site.stage(harness.bench.payload)
    [outcome] = await site.launch(batch, stored(await site.prepare(batch)))
    assert (outcome.result, outcome.lasting) == (Result.REFUSED, True)
    assert outcome.words
    assert not double_of(harness).owners()


async def test_others_read_no_secret_in_a_script(harness: JobsHarness) -> None:
    """What the system keeps, which others can read, holds neither key nor password; the owner's own files do."""
    site = await harness.open()
    group = harness.group(environment={"DATABASE_PASSWORD": PASSWORD}, prologue=(f"export MORE={PASSWORD}",))
    handles = await harness.bench.launch(site, harness.bench.batch(1, group))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    spooled = list((double_of(harness).folder / "spool").iterdir())
    assert spooled
    for path in spooled:
        assert PASSWORD not in path.read_text(), path
        assert path.stat().st_size < 10_000
    own = [path for path in harness.files() if path.suffix == ".sh"]
    assert any(PASSWORD in path.read_text() for path in own)
    assert {path.stat().st_mode & 0o077 for path in own} == {0}
    await site.terminate(handles)


async def test_what_a_job_prints_is_its_own_log(harness: JobsHarness) -> None:
    """What comes before the supervisor is told of the member that printed it, and of no other."""
    site = await harness.open()
    group = harness.group(prologue=(f"echo printed by {PLACES[harness.driver.name]}",))
    handles = await harness.bench.launch(site, harness.bench.batch(2, group))
    await all_in(site, handles, State.RUNNING)
    for handle in handles:
        lines = [text async for chunk in site.logs(handle, "", None) for _, text in chunk.lines]
        assert [line for line in lines if line.startswith("printed by")] == [f"printed by {handle.data['index']}"]
