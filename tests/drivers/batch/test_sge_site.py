"""Jobs on a real SGE: how they wait, end, and what others can see of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Observation, Result, Site, Wait
from daskd.model.cluster import Cause, Handle, State

from ..bench import observed, stored, until
from ..conformance.jobs import JobsHarness
from ..conformance.sge import sge_harness
from .sge_lab import QUEUE

pytestmark = pytest.mark.systems

PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[JobsHarness]:
    async with sge_harness(tmp_path) as made:
        yield made


async def launched(harness: JobsHarness, n: int = 1, **options: Any) -> tuple[Site, list[Handle]]:
    site = await harness.open()
    batch = harness.bench.batch(n, harness.group(options={"queue": QUEUE, **options}))
    return site, await harness.bench.launch(site, batch)


async def comes_to(site: Site, handle: Handle, state: State, deep: bool = True) -> Observation:
    """What is seen of one, once it is so, by whatever remembers it."""
    for _ in range(600):
        [seen] = (await site.observe([handle], deep=deep)).seen
        if seen.state is state:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within a minute {state}: {seen}")


async def test_what_is_held_says_so_and_goes_when_it_is_told_to(harness: JobsHarness) -> None:
    """A hold is told as one; a job that waits is ended at once, and its sibling stays."""
    site, handles = await launched(harness, 2, job_extra_directives=["-h"])
    seen = await observed(site, handles, lambda seen: all(one.wait for one in seen.values()), "both wait")
    assert {one.wait for one in seen.values()} == {Wait.HELD}
    await site.terminate(handles[:1])
    [gone, stays] = (await site.observe(handles)).seen
    assert gone.end is not None
    assert (gone.end.cause, stays.state) == (Cause.CANCELLED, State.QUEUED)


async def test_what_waits_for_slots_says_so(harness: JobsHarness) -> None:
    """The scheduler's own words stand beside ours."""
    site, _ = await launched(harness, cores=10)
    batch = harness.bench.batch(1, harness.group(options={"queue": QUEUE, "cores": 10}))
    [second] = await harness.bench.launch(site, batch)
    words = "SGE says"
    seen = await observed(site, [second], lambda seen: words in seen[second.id].words, "it says what it waits for")
    assert seen[second.id].wait is Wait.RESOURCES


@pytest.mark.parametrize("options", [{"queue": "nope.q"}, {"cores": 99}, {"resource_spec": "bogus=1"}])
async def test_what_can_never_run_is_refused_for_good(harness: JobsHarness, options: dict[str, Any]) -> None:
    """No such queue, too many slots, an unknown resource: qsub's word is the answer, and nothing was submitted."""
    site = await harness.open()
    batch = harness.bench.batch(1, harness.group(options=options))
    await site.stage(harness.bench.payload)
    handles = stored(await site.prepare(batch))
    [outcome] = await site.launch(batch, handles)
    assert (outcome.result, outcome.lasting) == (Result.REFUSED, True)
    assert outcome.words
    assert not harness.system.ask("qstat", "-u", "*")


async def test_a_walltime_ends_it_and_is_known_before(harness: JobsHarness) -> None:
    """When it will be over is told while it runs, and the limit is the cause of its end."""
    site, [handle] = await launched(harness, walltime=15)
    seen = await comes_to(site, handle, State.RUNNING)
    assert seen.started is not None
    assert seen.expected_end == seen.started + 15
    end = (await comes_to(site, handle, State.ENDED)).end
    assert end is not None
    # with a notice the supervisor may be the first to say how it ended
    assert end.cause in (Cause.TIME_LIMIT, Cause.EXITED)


async def test_a_qmasters_restart_ends_nothing(harness: JobsHarness) -> None:
    """While it is away listings are incomplete, and afterwards all runs as before."""
    site, handles = await launched(harness, 2)
    await until(lambda: len(harness.bench.workers) == 2, "both have joined")
    harness.system.stop_qmaster()
    snapshot = await site.observe(handles)
    assert not snapshot.complete
    harness.system.start_qmaster()
    await observed(
        site,
        handles,
        lambda seen: all(one.state is State.RUNNING for one in seen.values()),
        "both run",
    )
    assert len(harness.bench.workers) == 2


async def test_others_read_no_secret_in_a_script(harness: JobsHarness) -> None:
    """What lies in the spool, which others can read, holds neither key nor password; the owner's file does."""
    site = await harness.open()
    group = harness.group(environment={"DATABASE_PASSWORD": PASSWORD}, prologue=(f"export MORE={PASSWORD}",))
    handles = await harness.bench.launch(site, harness.bench.batch(1, group))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    spooled = [path for path in (harness.system.folder / "spool").rglob("*") if path.is_file()]
    scripts = [path for path in spooled if "job_scripts" in path.parts]
    assert scripts
    for path in spooled:
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert max(path.stat().st_size for path in scripts) < 10_000
    [script] = [path for path in harness.files() if path.suffix == ".sh"]
    assert PASSWORD in script.read_text()
    assert script.stat().st_mode & 0o077 == 0
    await site.terminate(handles)
