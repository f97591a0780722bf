"""Jobs on a real HTCondor: how they wait, are evicted, end, and that none is started twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Observation, Result, Site, Wait
from daskd.model.cluster import Cause, End, Handle, State

from ..bench import observed, stored, until
from ..conformance.condor import CondorHarness, condor_harness

pytestmark = pytest.mark.systems


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[CondorHarness]:
    async with condor_harness(tmp_path) as made:
        yield made


async def launched(harness: CondorHarness, n: int = 1, **options: Any) -> tuple[Site, list[Handle]]:
    site = await harness.open()
    batch = harness.bench.batch(n, harness.group(options=options))
    return site, await harness.bench.launch(site, batch)


async def comes_to(site: Site, handle: Handle, state: State) -> Observation:
    seen = await observed(site, [handle], lambda seen: seen[handle.id].state is state, f"it is {state.value}")
    return seen[handle.id]


async def end_of(site: Site, handle: Handle) -> End:
    end = (await comes_to(site, handle, State.ENDED)).end
    assert end is not None
    return end


def in_queue(harness: CondorHarness) -> list[str]:
    return list(harness.system.jobs())


async def leaves_the_queue(harness: CondorHarness, site: Site, handles: list[Handle]) -> None:
    """What has ended is taken out of the queue by the listings that follow."""
    await observed(site, handles, lambda _: not in_queue(harness), "the queue is empty")


async def test_an_evicted_job_is_told_and_not_started_again(harness: CondorHarness) -> None:
    """What its machine gave up has ended, for HTCondor, too; its sibling runs on."""
    site, handles = await launched(harness, 2)
    await until(lambda: len(harness.bench.workers) == 2, "both have joined")
    [job] = [job for job in in_queue(harness) if job.endswith(".0")]
    harness.system.ask("condor_vacate_job", job)
    assert (await end_of(site, handles[0])).cause is Cause.PREEMPTED
    await until(lambda: in_queue(harness) == [job[:-1] + "1"], "it has left the queue")
    [ended, other] = (await site.observe(handles, deep=True)).seen
    assert (ended.state, other.state) == (State.ENDED, State.RUNNING)
    assert len(harness.bench.workers) == 1


async def test_a_job_that_is_held_while_it_runs_has_ended(harness: CondorHarness) -> None:
    """A hold ends what runs, and is told as somebody's cancelling; a release can't start it again."""
    site, [handle] = await launched(harness)
    await until(lambda: harness.bench.workers, "it has joined")
    [job] = in_queue(harness)
    harness.system.ask("condor_hold", job)
    end = await end_of(site, handle)
    assert (end.cause, "condor_hold" in end.words) == (Cause.CANCELLED, True)
    await leaves_the_queue(harness, site, [handle])


async def test_what_is_held_from_the_beginning_says_so_and_goes_when_it_is_told_to(harness: CondorHarness) -> None:
    """A hold is told as one; a job that waits is ended at once, and its sibling stays."""
    site, handles = await launched(harness, 2, job_extra_directives=["hold = true"])
    seen = await observed(site, handles, lambda seen: all(one.wait for one in seen.values()), "both wait")
    assert {one.wait for one in seen.values()} == {Wait.HELD}
    await site.terminate(handles[:1])
    assert (await end_of(site, handles[0])).cause is Cause.CANCELLED
    assert (await comes_to(site, handles[1], State.QUEUED)).wait is Wait.HELD


async def test_what_waits_for_a_machine_says_so(harness: CondorHarness) -> None:
    """The negotiator's own words stand beside ours."""
    site, [handle] = await launched(harness, cores=99)
    words = "HTCondor says: no match found"
    seen = await observed(site, [handle], lambda seen: words in seen[handle.id].words, "it says what it waits for")
    assert seen[handle.id].wait is Wait.RESOURCES


async def test_a_walltime_ends_it_and_is_known_before(harness: CondorHarness) -> None:
    """When it will be over is told while it runs; the limit is the cause of its end, and it leaves the queue."""
    site, [handle] = await launched(harness, walltime=8)
    seen = await comes_to(site, handle, State.RUNNING)
    assert seen.started is not None
    assert seen.expected_end == seen.started + 8
    end = await end_of(site, handle)
    assert (end.cause, "8 s" in end.words) == (Cause.TIME_LIMIT, True)
    await leaves_the_queue(harness, site, [handle])


async def test_a_machine_that_lost_it_is_told(harness: CondorHarness) -> None:
    """When HTCondor's own process beside a job dies the job is lost with its machine, and not for certain ended."""
    site, [handle] = await launched(harness)
    await until(lambda: harness.bench.workers, "it has joined")
    harness.system.kill_starters()
    end = await end_of(site, handle)
    assert (end.cause, end.certain) == (Cause.NODE_LOST, False)


async def test_a_shell_that_is_not_there_is_told(harness: CondorHarness) -> None:
    """What a machine can't execute has failed to start, with HTCondor's words."""
    site, [handle] = await launched(harness, shebang="#!/nonexistent/shell")
    end = await end_of(site, handle)
    assert (end.cause, "/nonexistent/shell" in end.words) == (Cause.FAILED_TO_START, True)


async def test_a_malformed_directive_is_refused_for_good(harness: CondorHarness) -> None:
    """condor_submit's word is the answer, and nothing was submitted."""
    site = await harness.open()
    batch = harness.bench.batch(1, harness.group(options={"job_extra_directives": ["requirements = (("]}))
    await site.stage(harness.bench.payload)
    [outcome] = await site.launch(batch, stored(await site.prepare(batch)))
    assert (outcome.result, outcome.lasting) == (Result.REFUSED, True)
    assert "Parse error" in outcome.words
    assert not in_queue(harness)


async def test_what_left_the_queue_is_remembered(harness: CondorHarness) -> None:
    """A job that was removed before its node was there leaves no record: the history tells of its end."""
    site, [handle] = await launched(harness, job_extra_directives=["hold = true"])
    [job] = in_queue(harness)
    harness.system.ask("condor_rm", job)
    for _ in range(600):
        [seen] = (await site.observe([handle], deep=True)).seen
        if seen.state is State.ENDED:
            break
        await asyncio.sleep(0.1)
    assert seen.end is not None
    assert (seen.end.cause, "condor_rm" in seen.end.words) == (Cause.CANCELLED, True)
