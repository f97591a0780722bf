"""Nodes on real hosts, over real sshds: they outlive connection and daemon, hosts are lost and come back."""

from __future__ import annotations

import asyncio

import pytest

from daskd.drivers.protocol import Result
from daskd.drivers.ssh.endpoint import endpoint_of
from daskd.model.cluster import Cause, State

from ..bench import all_in, observed, until
from .lab import kill
from .rig import Rig

pytestmark = pytest.mark.systems


async def test_nodes_run_and_join_from_all_hosts(rig: Rig) -> None:
    """Four workers are spread over two hosts, join from there, and compute."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(4, rig.group()))
    await all_in(site, handles, State.RUNNING)
    await until(lambda: len(rig.bench.workers) == 4, "all have joined")
    hosts = [
        worker.address.partition("://")[2].partition(":")[0] for worker in rig.bench.hub.scheduler.workers.values()
    ]
    assert sorted(hosts) == sorted(2 * [host.address for host in rig.machines.hosts])
    async with rig.bench.client() as client:
        assert await client.gather(client.map(lambda x: x + 1, range(20))) == list(range(1, 21))


async def test_a_new_daemon_finds_by_the_handles_alone_what_runs(rig: Rig) -> None:
    """Nodes outlive the connection; a site that knows nothing finds and ends them by their stored handles."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group()))
    await until(lambda: len(rig.bench.workers) == 2, "both have joined")
    before = set(rig.bench.hub.scheduler.workers)
    await site.close()
    other = await rig.open()
    seen = await all_in(other, handles, State.RUNNING)
    assert {one.host for one in seen.values()} == {host.address for host in rig.machines.hosts}
    assert set(rig.bench.hub.scheduler.workers) == before
    assert [outcome.result for outcome in await other.terminate(handles)] == [Result.ACCEPTED] * 2
    seen = await all_in(other, handles, State.ENDED)
    assert {one.end.cause for one in seen.values() if one.end} == {Cause.EXITED}


async def test_a_host_has_one_connection_that_is_made_anew_when_it_broke(rig: Rig) -> None:
    """Whatever is asked goes over one connection; killing the login's sshd breaks that and nothing else."""
    site = await rig.open()
    host = rig.machines.hosts[0]
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(rig.options(host))))
    await all_in(site, handles, State.RUNNING)
    assert host.logins == 1
    for pid in host.processes(of="sshd: root"):
        kill(pid)
    await all_in(site, handles, State.RUNNING)
    assert host.logins == 2


async def test_a_host_that_is_cut_off_is_unknown_and_keeps_no_other_waiting(rig: Rig) -> None:
    """A pulled cable makes its nodes unknown, with words; the other host's are seen running; back it is as before."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group()))
    await all_in(site, handles, State.RUNNING)
    lost = rig.machines.hosts[0]
    [gone] = [h for h in handles if h.data["endpoint"]["host"] == lost.address]
    [stays] = [h for h in handles if h is not gone]
    lost.pull_cable()
    seen = await observed(site, handles, lambda seen: seen[gone.id].state is State.UNKNOWN, "it is unknown")
    assert lost.address in seen[gone.id].words
    assert seen[stays.id].state is State.RUNNING
    # what is placed now is placed elsewhere
    other = await rig.bench.launch(site, rig.bench.batch(1, rig.group()))
    assert [e.host for h in other if (e := endpoint_of(h))] == [rig.machines.hosts[1].address]
    lost.mend_cable()
    await all_in(site, [*handles, *other], State.RUNNING)


async def test_a_host_that_was_switched_off_and_on_has_lost_its_nodes(rig: Rig) -> None:
    """After a host's restart its nodes have ended, for certain; those of the other run on."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group()))
    await all_in(site, handles, State.RUNNING)
    lost = rig.machines.hosts[0]
    [gone] = [h for h in handles if h.data["endpoint"]["host"] == lost.address]
    lost.switch_off()
    await observed(site, handles, lambda seen: seen[gone.id].state is State.UNKNOWN, "it is unknown")
    lost.start()
    seen = await observed(site, handles, lambda seen: seen[gone.id].state is State.ENDED, "it has ended")
    end = seen[gone.id].end
    assert end is not None
    assert end.certain
    assert [one.state for key, one in seen.items() if key != gone.id] == [State.RUNNING]


async def test_no_id_is_launched_twice(rig: Rig) -> None:
    """The same launch, repeated, is accepted and starts nothing."""
    site = await rig.open()
    host = rig.machines.hosts[0]
    batch = rig.bench.batch(1, rig.group(rig.options(host)))
    handles = await rig.bench.launch(site, batch)
    await all_in(site, handles, State.RUNNING)
    outcomes = await asyncio.gather(*(site.launch(batch, handles) for _ in range(5)))
    assert {outcome.result for answered in outcomes for outcome in answered} == {Result.ACCEPTED}
    assert len(host.processes(of="supervisor.py")) == 1


async def test_nothing_is_left_when_a_cluster_is_forgotten(rig: Rig) -> None:
    """After the end, `unstage` and `forget` there is no process and no file of ours on any host."""
    site = await rig.open()
    handles = await rig.bench.launch(site, rig.bench.batch(2, rig.group()))
    await all_in(site, handles, State.RUNNING)
    await site.terminate(handles)
    await all_in(site, handles, State.ENDED)
    await site.unstage(rig.bench.uid)
    assert not [path for path in rig.left() if path.endswith(".key")]
    assert [path for path in rig.left() if path.endswith(".log")]
    await site.forget(rig.bench.uid)
    assert rig.left() == []
    assert not list((rig.bench.where.state_dir / "ssh").iterdir())


async def test_what_a_host_that_was_down_still_has_is_removed_when_it_is_back(rig: Rig) -> None:
    """A daemon that starts later clears away what an earlier one could not."""
    site = await rig.open()
    host = rig.machines.hosts[0]
    handles = await rig.bench.launch(site, rig.bench.batch(1, rig.group(rig.options(host))))
    await all_in(site, handles, State.RUNNING)
    host.switch_off()
    await site.unstage(rig.bench.uid)
    await site.forget(rig.bench.uid)
    assert [path for path in rig.left() if path.endswith(".key")]
    await site.close()
    host.start()
    await rig.open()
    await until(lambda: not rig.left(), "nothing is left")


async def test_a_launch_that_was_given_up_does_not_arrive_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that a pulled cable held up is unsure; what was under way went with its connection."""
    monkeypatch.setattr("daskd.drivers.ssh.site.LAUNCH_S", 2.0)
    site = await rig.open()
    host = rig.machines.hosts[0]
    batch = rig.bench.batch(1, rig.group(rig.options(host)))
    await site.stage(rig.bench.payload)
    handles = await site.prepare(batch)
    host.pull_cable()
    [outcome] = await site.launch(batch, handles)
    assert outcome.result is Result.UNSURE
    host.mend_cable()
    await observed(site, handles, lambda seen: seen[handles[0].id].state is not State.UNKNOWN, "the host answers")
    await all_in(site, handles, State.ENDED)
    assert not host.processes(of="supervisor.py")
    assert host.logins == 2
