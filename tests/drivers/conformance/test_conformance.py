"""What the core counts on of every driver's site (`docs/drivers/README.md`), whatever its system."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest

from daskd.drivers.protocol import Result, Site
from daskd.model.cluster import Cause, Handle, State
from daskd.model.names import new_state_id

from ..bench import PATIENCE, Bench, all_in, observed, stored, until
from .harness import Harness
from .harnesses import FREEZABLE

PASSWORD = "correct-horse-battery-staple"


async def log_of(site: Site, handle: Handle, cursor: str = "") -> tuple[list[str], str]:
    """The lines of one log after a cursor, and the cursor after them."""
    lines: list[str] = []
    async for chunk in site.logs(handle, cursor, None):
        lines += [text for _, text in chunk.lines]
        cursor = chunk.cursor
    return lines, cursor


async def ended(site: Site, handles: list[Handle]) -> None:
    """Ask for the end of all, as the core does: those again of whom nobody knows whether they heard; and see it."""
    deadline, unheard = time.monotonic() + PATIENCE, handles
    while unheard := [
        o.handle for o in await site.terminate(unheard) if o.result not in (Result.ACCEPTED, Result.GONE)
    ]:
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: all are asked to end: {unheard}"
        await asyncio.sleep(0.1)
    await all_in(site, handles, State.ENDED)


async def test_a_batch_gives_one_outcome_a_member_and_is_observed_running(harness: Harness) -> None:
    """In the order of the handles; every node runs, and its workers join."""
    site = await harness.open()
    batch = harness.bench.batch(2, harness.group(workers_per_node=2))
    await site.stage(harness.bench.payload)
    handles = stored(await site.prepare(batch))
    assert [handle.id for handle in handles] == [member.id for member in batch.members]
    outcomes = await site.launch(batch, handles)
    assert [(o.handle.id, o.result) for o in outcomes] == [(handle.id, Result.ACCEPTED) for handle in handles]
    seen = await all_in(site, handles, State.RUNNING)
    assert all(one.host for one in seen.values())
    await until(lambda: harness.bench.workers == {name for m in batch.members for name in m.workers}, "all have joined")
    await ended(site, handles)


async def test_the_prepared_handle_alone_finds_and_ends(harness: Harness) -> None:
    """The answer to a launch may be lost: what was committed before finds it, for another daemon too."""
    site = await harness.open()
    batch = harness.bench.batch(1, harness.group())
    await site.stage(harness.bench.payload)
    handles = stored(await site.prepare(batch))
    await site.launch(batch, handles)
    await site.close()
    other = await harness.open()
    await all_in(other, handles, State.RUNNING)
    await ended(other, handles)


async def test_preparing_starts_and_leaves_nothing(harness: Harness) -> None:
    """What was prepared and never launched is not found running, and takes no file."""
    site = await harness.open()
    handles = stored(await site.prepare(harness.bench.batch(2, harness.group())))
    snapshot = await site.observe(handles, deep=True)
    assert snapshot.complete
    assert {one.state for one in snapshot.seen} <= {State.ENDED, State.UNKNOWN}
    assert not snapshot.strays
    assert not harness.files()
    assert {o.result for o in await site.terminate(handles)} == {Result.GONE}


async def test_no_id_is_launched_twice(harness: Harness) -> None:
    """Where a site says that a repeat is safe, repeats at once and after the end start nothing."""
    site = await harness.open()
    if not site.capabilities.repeat_safe:
        pytest.skip("its system can't tell a repeat")
    batch = harness.bench.batch(1, harness.group())
    handles = await harness.bench.launch(site, batch)
    await asyncio.gather(*(site.launch(batch, handles) for _ in range(4)))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    await ended(site, handles)
    await site.launch(batch, handles)
    await all_in(site, handles, State.ENDED)
    await until(lambda: not harness.bench.workers, "it has left")


async def test_a_kill_and_an_exit_code_are_told(harness: Harness) -> None:
    """How a node ended is known: by which signal, with which code, for certain."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    seen = await all_in(site, handles, State.RUNNING)
    harness.kill(seen[handles[0].id])
    end = (await all_in(site, handles, State.ENDED))[handles[0].id].end
    assert end is not None
    assert (end.cause, end.signal, end.certain) == (Cause.SIGNAL, 9, True)
    batch = harness.bench.batch(1, harness.group())
    harness.bench.hub.roster.fence([batch.members[0].id])
    fenced = await harness.bench.launch(site, batch)
    end = (await all_in(site, fenced, State.ENDED))[fenced[0].id].end
    assert end is not None
    assert (end.cause, end.code) == (Cause.EXITED, 83)


async def test_an_end_is_still_known_to_a_later_daemon(harness: Harness) -> None:
    """What ended while no daemon looked is told with its cause."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    seen = await all_in(site, handles, State.RUNNING)
    await site.close()
    harness.kill(seen[handles[0].id])
    end = (await all_in(await harness.open(), handles, State.ENDED))[handles[0].id].end
    assert end is not None
    assert end.signal == 9


async def test_an_end_reaches_the_runtime_as_a_request(harness: Harness) -> None:
    """It ends in order, exits 0 and says so in its log; asking again is harmless."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    for _ in range(2):
        [outcome] = await site.terminate(handles)
        assert outcome.result in (Result.ACCEPTED, Result.GONE)
    end = (await all_in(site, handles, State.ENDED))[handles[0].id].end
    assert end is not None
    assert (end.cause, end.code) == (Cause.EXITED, 0)
    assert [outcome.result for outcome in await site.terminate(handles)] == [Result.GONE]
    assert "daskd: ends with code 0, told to end" in (await log_of(site, handles[0]))[0]


async def test_force_ends_what_does_not_listen(harness: Harness) -> None:
    """With `force` an end needs nobody's consent."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    await all_in(site, handles, State.RUNNING)
    await site.terminate(handles, force=True)
    await all_in(site, handles, State.ENDED)


async def test_ending_one_leaves_its_siblings(harness: Harness) -> None:
    """Of a batch one member is ended, and the others run on."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(3, harness.group()))
    await until(lambda: len(harness.bench.workers) == 3, "all have joined")
    await ended(site, handles[1:2])
    await all_in(site, [handles[0], handles[2]], State.RUNNING)
    await until(lambda: len(harness.bench.workers) == 2, "one has left")
    await ended(site, handles)


async def test_another_daemons_work_is_untouched(harness: Harness) -> None:
    """A daemon with another state sees nothing of ours as its own; ours sees a stray of its own."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    await all_in(site, handles, State.RUNNING)
    foreign = Bench.__new__(Bench)
    foreign.__dict__.update(harness.bench.__dict__)
    foreign.where = dataclasses.replace(harness.bench.where, state_id=new_state_id())
    other = await harness.open(foreign)
    snapshot = await other.observe([], deep=True)
    assert snapshot.complete
    mine = await (await harness.open()).observe([], deep=True)
    assert [stray.element for stray in mine.strays] == [handles[0].element]
    assert (await site.terminate(mine.strays))[0].result is Result.ACCEPTED
    await all_in(site, handles, State.ENDED)


async def test_no_secret_is_where_others_can_read_it(harness: Harness) -> None:
    """No command line holds one, no file that holds one can be read by others; the runtime gets it."""
    site = await harness.open()
    group = harness.group(environment={"DATABASE_PASSWORD": PASSWORD})
    handles = await harness.bench.launch(site, harness.bench.batch(1, group))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    assert PASSWORD.encode() in harness.environments()
    assert not [line for line in harness.processes().values() if PASSWORD in line]
    holding = [path for path in harness.files() if path.is_file() and _holds_secret(path)]
    assert {path.stat().st_mode & 0o077 for path in holding} == {0}
    await ended(site, handles)


def _holds_secret(path: Path) -> bool:
    data = path.read_bytes()
    return PASSWORD.encode() in data or b"PRIVATE KEY" in data


async def test_logs_go_on_at_the_cursor_after_the_end(harness: Harness) -> None:
    """What was read is not read again, nothing is left out, and the log outlives its instance."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    # a job that is ended before its node is there has nothing to say
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    before, cursor = await log_of(site, handles[0])
    await ended(site, handles)
    other = await harness.open()
    after, _ = await log_of(other, handles[0], cursor)
    assert after
    # what the system itself printed and what the node did are two files: together they have no order
    assert sorted((await log_of(other, handles[0]))[0]) == sorted(before + after)


@pytest.mark.parametrize("harness", FREEZABLE, indirect=True)
async def test_a_system_that_does_not_answer_ends_nothing(harness: Harness) -> None:
    """What can't be seen is unknown, or the listing is not complete; afterwards it runs as before."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(2, harness.group()))
    await all_in(site, handles, State.RUNNING)
    with harness.freeze():
        for _ in range(3):
            snapshot = await site.observe(handles)
            assert not snapshot.complete or {one.state for one in snapshot.seen} == {State.UNKNOWN}
        assert {o.result for o in await site.terminate(handles[:1])} == {Result.UNSURE}
    # whether that question had reached it nobody knows
    await observed(site, handles, lambda seen: seen[handles[1].id].state is State.RUNNING, "it runs as before")
    await ended(site, handles)


async def test_unstaging_leaves_no_secret_and_forgetting_leaves_nothing(harness: Harness) -> None:
    """Keys and code go when a cluster has ended, logs when it is forgotten; a repeat is harmless."""
    site = await harness.open()
    handles = await harness.bench.launch(site, harness.bench.batch(1, harness.group()))
    await until(lambda: len(harness.bench.workers) == 1, "it has joined")
    await ended(site, handles)
    for _ in range(2):
        await site.unstage(harness.bench.uid)
    assert not [path for path in harness.files() if path.suffix in (".key", ".py")]
    assert (await log_of(site, handles[0]))[0]
    for _ in range(2):
        await site.forget(harness.bench.uid)
    assert not harness.files()
    await until(lambda: not harness.processes(), "nothing runs any more")


def test_every_option_says_what_it_is(harness: Harness) -> None:
    """The API's schema and the pages are made of the options' own words."""
    assert harness.driver.options.model_config.get("extra") == "forbid"
    assert all(field.description for field in harness.driver.options.model_fields.values())


async def test_a_handle_is_upgraded_to_itself(harness: Harness) -> None:
    """Handles of this release stay as they are."""
    site = await harness.open()
    for handle in await site.prepare(harness.bench.batch(2, harness.group())):
        assert harness.driver.upgrade(handle) == handle
