"""What users of `SSHCluster` complain about: each complaint, and that it is none here."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from daskd.drivers.protocol import Outcome, Result, Site
from daskd.drivers.ssh.endpoint import endpoint_of
from daskd.model.cluster import Handle, State

from ..bench import all_in, stored, until
from .lab import Machine
from .rig import Rig

pytestmark = pytest.mark.systems

PASSWORD = "correct-horse-battery-staple"


async def tried(rig: Rig, options: dict[str, Any], n: int = 1, **group: Any) -> list[Outcome]:
    """The outcomes of one launch."""
    site = await rig.open()
    batch = rig.bench.batch(n, rig.group(options, **group))
    await site.stage(rig.bench.payload)
    return await site.launch(batch, stored(await site.prepare(batch)))


async def log_of(site: Site, handle: Handle) -> list[str]:
    """The lines of one log."""
    return [text async for chunk in site.logs(handle, "", None) for _, text in chunk.lines]


async def test_logs_are_kept_and_read_again_from_where_they_were_left(rig: Rig) -> None:
    """Another site reads the log after the end; with the cursor it gets what came since, and no line twice."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(rig.options(rig.machines.hosts[0]))))
    await all_in(site, handles, State.RUNNING)
    cursor, before = "", []
    async for chunk in site.logs(handles[0], "", None):
        cursor, before = chunk.cursor, [*before, *(text for _, text in chunk.lines)]
    await site.terminate(handles)
    await all_in(site, handles, State.ENDED)
    other = await rig.open()
    after = [text async for chunk in other.logs(handles[0], cursor, None) for _, text in chunk.lines]
    assert any("joined the scheduler" in line for line in before + after)
    assert "daskd: ends with code 0, told to end" in after
    assert [*before, *after] == await log_of(other, handles[0])


async def test_a_log_on_a_host_that_is_down_says_so(rig: Rig) -> None:
    """Reading it neither hangs nor fails: one line tells why there are no others."""
    site = await rig.open()
    host = rig.machines.hosts[0]
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(rig.options(host))))
    host.switch_off()
    [line] = await log_of(site, handles[0])
    assert host.address in line


async def test_a_host_that_is_down_hangs_nothing(rig: Rig) -> None:
    """Everything is placed on the others; when those are full, the words say which host is down."""
    down, up = rig.machines.hosts
    down.switch_off()
    outcomes = await tried(rig, rig.options(slots=2), 3)
    assert sorted(outcome.result.value for outcome in outcomes) == ["accepted", "accepted", "refused"]
    assert {e.host for o in outcomes if (e := endpoint_of(o.handle))} == {up.address}
    [refused] = [outcome for outcome in outcomes if outcome.result is Result.REFUSED]
    assert f"{up.address} 2/2" in refused.words
    assert f"{down.address} down since" in refused.words
    assert not refused.lasting


async def test_no_log_level_keeps_a_cluster_from_starting(rig: Rig) -> None:
    """Nothing is read out of logs: with Dask's as quiet as can be, workers join all the same."""
    site = await rig.open()
    quiet = {"DASK_LOGGING__DISTRIBUTED": "critical"}
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(environment=quiet)))
    await all_in(site, handles, State.RUNNING)
    await until(lambda: len(rig.bench.workers) == 1, "it has joined")


async def test_each_host_has_options_of_its_own(rig: Rig) -> None:
    """Another port, other slots, another folder, another interface, for one host alone."""
    first, second = rig.machines.hosts
    second.switch_off()
    second.start("Port 2222")
    mine = rig.machines.folder / "mine"
    special = {"host": second.address, "port": 2222, "slots": 1, "directory": str(mine), "interface": "lo"}
    outcomes = await tried(rig, rig.options(first, special, slots=2), 3)
    assert [outcome.result for outcome in outcomes] == [Result.ACCEPTED] * 3
    on = [e.host for o in outcomes if (e := endpoint_of(o.handle))]
    assert sorted(on) == [first.address, first.address, second.address]
    [spec] = mine.rglob("spec.json")
    assert '"host": "127.0.0.1"' in spec.read_text()


async def test_a_cluster_is_scaled_up_and_down(rig: Rig) -> None:
    """More are launched beside those that run; one is ended, and the others stay."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group()))
    handles += await rig.bench.launch(site, rig.bench.batch(2, rig.group()))
    await until(lambda: len(rig.bench.workers) == 3, "all have joined")
    await site.terminate(handles[:1])
    await all_in(site, handles[:1], State.ENDED)
    await all_in(site, handles[1:], State.RUNNING)
    await until(lambda: len(rig.bench.workers) == 2, "one has left")


async def test_ps_shows_nothing_of_a_request(rig: Rig) -> None:
    """From the launch to the end no command line on any host holds a variable, a key or a name of the cluster."""
    site = await rig.open()
    seen: set[str] = set()

    async def watch() -> None:
        while True:
            seen.update(line for host in rig.machines.hosts for line in host.processes().values())
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    secret = {"DATABASE_PASSWORD": PASSWORD}
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group(environment=secret)))
    await until(lambda: len(rig.bench.workers) == 2, "both have joined")
    await site.terminate(handles)
    await all_in(site, handles, State.ENDED)
    watching.cancel()
    assert any("daskd_runtime node" in line for line in seen)
    assert not [line for line in seen if PASSWORD in line or "DATABASE" in line or "PRIVATE" in line]
    holding = [path for path in (rig.machines.folder / "daskd").rglob("*") if path.is_file() and _holds(path)]
    assert holding
    assert {path.stat().st_mode & 0o077 for path in holding} == {0}


def _holds(path: Path) -> bool:
    text = path.read_bytes()
    return PASSWORD.encode() in text or b"PRIVATE KEY" in text


async def test_an_unknown_host_key_is_refused(rig: Rig) -> None:
    """A host that is not in known_hosts gets nothing, unless it says "insecure"; the words say what to do."""
    host = rig.machines.hosts[0]
    empty = rig.machines.folder / "empty"
    empty.touch()
    [outcome] = await tried(rig, rig.options(host, known_hosts=str(empty)))
    assert outcome.result is Result.REFUSED
    assert f"its host key is not the one in {empty}" in outcome.words
    # neither does the owner's file, which is not there, let it in
    options = rig.options(host)
    del options["known_hosts"]
    [outcome] = await tried(rig, options)
    assert "its host key is not the one in ~/.ssh/known_hosts" in outcome.words
    [outcome] = await tried(rig, rig.options(host, known_hosts="insecure"))
    assert outcome.result is Result.ACCEPTED


async def test_a_key_that_is_not_let_in_is_told(rig: Rig) -> None:
    """The words name the user and the key."""
    host = rig.machines.hosts[0]
    [outcome] = await tried(rig, rig.options(host, key=str(host.folder / "host_key")))
    assert outcome.result is Result.REFUSED
    assert f"it lets root not in with the key: {host.folder}/host_key" in outcome.words
    [outcome] = await tried(rig, rig.options(host, key=str(host.folder / "no-such-key")))
    assert "no-such-key" in outcome.words


async def test_a_host_behind_another_is_reached(rig: Rig) -> None:
    """With `jump` the connection comes from the jump host."""
    gate, behind = rig.machines.hosts
    [outcome] = await tried(rig, rig.options(behind, jump=f"root@{gate.address}"))
    assert outcome.result is Result.ACCEPTED
    log = (behind.folder / "sshd.log").read_text()
    assert f"Accepted publickey for root from {gate.address}" in log
    assert f"from {rig.machines.gateway}" not in log


async def test_a_host_without_distributed_is_told_and_not_chosen(rig: Rig) -> None:
    """A node is placed where it can run; of the other host the words say what is missing."""
    bare, good = rig.machines.hosts
    script = rig.machines.folder / "bare-python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    options = rig.options({"host": bare.address, "python": str(script)}, good, slots=1)
    outcomes = await tried(rig, options, 2)
    assert [outcome.result for outcome in outcomes] == [Result.ACCEPTED, Result.REFUSED]
    assert endpoint_of(outcomes[0].handle).host == good.address  # type: ignore[union-attr]
    assert f"{bare.address} has no `distributed` in {script}" in outcomes[1].words


async def test_a_python_that_is_not_there_is_told(rig: Rig) -> None:
    """The host's name, the Python's and the option to set stand in the words."""
    host = rig.machines.hosts[0]
    [outcome] = await tried(rig, rig.options(host, python="/no/such/python"))
    assert outcome.result is Result.REFUSED
    assert "it has no Python '/no/such/python': name one by the option `python`" in outcome.words


async def test_hosts_may_share_a_home(rig: Rig) -> None:
    """By default all lies in ~/.daskd, and hosts that share it see nothing of each other's as their own."""
    site = await rig.open()
    options = rig.options()
    del options["directory"]
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group(options)))
    await all_in(site, handles, State.RUNNING)
    names = {path.name for path in (rig.machines.home / ".daskd" / rig.bench.where.state_id).iterdir()}
    assert names == {f"{host.address}_22" for host in rig.machines.hosts}
    snapshot = await site.observe(handles, deep=True)
    assert snapshot.strays == ()
    await site.terminate(handles)
    await all_in(site, handles, State.ENDED)
    await site.forget(rig.bench.uid)
    assert not (rig.machines.home / ".daskd").exists()


async def test_what_nobody_asked_about_is_found_and_ended(rig: Rig) -> None:
    """A deep listing shows what runs there of this daemon's and no cluster has; it is ended by what it shows."""
    site = await rig.open()
    host: Machine = rig.machines.hosts[0]
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(rig.options(host))))
    await all_in(site, handles, State.RUNNING)
    other = await rig.open()
    strays = (await other.observe([], deep=True)).strays
    assert [stray.id for stray in strays] == [handles[0].id]
    assert [outcome.result for outcome in await other.terminate(strays)] == [Result.ACCEPTED]
    await all_in(other, handles, State.ENDED)
    assert not (await other.observe([], deep=True)).strays


async def test_a_login_that_prints_does_no_harm(rig: Rig) -> None:
    """A shell's start-up that greets, as many do, changes nothing."""
    host = rig.machines.hosts[0]
    greeting = 'ForceCommand echo welcome; eval "$SSH_ORIGINAL_COMMAND"'
    host.switch_off()
    host.start(greeting)
    [outcome] = await tried(rig, rig.options(host))
    assert outcome.result is Result.ACCEPTED
