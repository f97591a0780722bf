"""Clusters on a real Slurm, end to end: a real daemon, its client, and what may befall them, the jobs and Slurm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import Cluster, Phase
from tests.daemon_process import DaemonProcess, until
from tests.spine.killed_daemon import asked_through_death, eventually, start_armed

from .clusters import SLOW, comes_to, create, eventually_true, has, is_told, spec, told
from .lab import CORES_OF_NODE, LIVING, PARTITION, Slurm

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("point", "adopted"), [("launch.intended:2", False), ("launch.launched:2", True)])
async def test_a_daemon_killed_in_a_launch_launches_once(
    unstarted: DaemonProcess, system: Slurm, point: str, adopted: bool
) -> None:
    """Whether sbatch was run or not when it died: in the end there are as many jobs as wanted; no id ran twice."""
    start_armed(unstarted, point)  # the first launch is the scheduler's
    async with AsyncDaskd(unstarted.address) as daskd:
        # it dies after its answer
        await asked_through_death(unstarted, lambda: daskd.create("sim", spec(2), request_id="once"))
        await comes_to(daskd, has(2), "it runs", SLOW)
        assert len(system.jobs(*LIVING)) == 2
        assert ("INSTANCE_ADOPTED" in {event.type for event in await daskd.events("sim")}) is adopted
        workers = await daskd.workers("sim", include_ended=True)
        ran = [folder.name for folder in (unstarted.folder / "shared").rglob("instances/*")]
        assert sorted(ran) == sorted(worker.instance for worker in workers if worker.address)
        ending = await daskd.delete("sim")
        await comes_to(daskd, lambda cluster: cluster.phase is Phase.STOPPED, "it has ended", SLOW, ending.uid)
        assert not system.jobs(*LIVING)


async def test_a_job_that_somebody_cancels_is_replaced(daemon: DaemonProcess, system: Slurm) -> None:
    """scancel behind the daemon's back is told as what it was, and another job takes its place."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(2))
        await comes_to(daskd, has(2), "it runs")
        first = system.jobs("RUNNING")
        system.ask("scancel", first[0])
        await is_told(daskd, "WORKER_LOST", "CANCELLED")
        await comes_to(daskd, has(2), "there are two again")
        now = system.jobs("RUNNING")
        assert len(now) == 2
        assert first[0] not in now
        assert first[1] in now


async def test_a_job_on_a_node_that_failed_is_replaced(daemon: DaemonProcess, system: Slurm) -> None:
    """A node that is set down takes its jobs along: they are told as lost with it, and run again elsewhere."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1))
        await comes_to(daskd, has(1), "it runs")
        [job] = system.jobs("RUNNING")
        node = system.ask("squeue", "-h", "-r", "-j", job, "-o", "%B").strip()
        system.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        try:
            await is_told(daskd, "WORKER_LOST", "NODE_FAIL")
            await comes_to(daskd, has(1), "another one has joined")
            assert job not in system.jobs("RUNNING")
        finally:
            # one that answers has come back by itself
            system.ask("scontrol", "update", f"nodename={node}", "state=resume", check=False)


async def test_a_controller_that_is_away_ends_nothing(daemon: DaemonProcess, system: Slurm) -> None:
    """While slurmctld is down clusters compute and keep their workers; afterwards the same jobs are theirs."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(2))
        await comes_to(daskd, has(2), "it runs")
        before, jobs = await daskd.workers("sim"), system.jobs("RUNNING")
        system.stop_controller()
        try:
            until(lambda: "could not be observed" in daemon.log.read_text(), "a listing has failed")
            cluster = await asyncio.to_thread(RemoteCluster.attach, "sim", address=daemon.address)
            with Client(cluster) as client:
                assert await asyncio.to_thread(client.submit(lambda x: x + 1, 1).result) == 2
            cluster.close()
            assert {w.instance for w in await daskd.workers("sim")} == {w.instance for w in before}
        finally:
            system.start_controller()
        await daskd.scale("sim", 3)
        await comes_to(daskd, has(3), "a third has joined")
        assert set(jobs) < set(system.jobs("RUNNING"))
        assert not await told(daskd, "WORKER_LOST")


async def test_jobs_too_many_go_first_where_they_wait(daemon: DaemonProcess, system: Slurm) -> None:
    """Of more jobs than there is room for the waiting ones are cancelled first, and none that runs is touched."""
    room = 2 * CORES_OF_NODE // 4
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(room + 3, cores=4))

        def is_full(cluster: Cluster) -> bool:
            group = cluster.groups[0]
            return (group.running, group.pending) == (room, 3)

        await comes_to(daskd, is_full, "there is no more room")
        running = system.jobs("RUNNING")
        await daskd.scale("sim", room + 1)
        await eventually_true(lambda: len(system.jobs("PENDING")) == 1, "two were cancelled")
        assert system.jobs("RUNNING") == running
        await daskd.scale("sim", room)
        await comes_to(daskd, has(room), "none waits any more", SLOW)
        assert system.jobs("RUNNING") == running


async def test_a_held_job_is_told_and_runs_when_it_is_released(daemon: DaemonProcess, system: Slurm) -> None:
    """A hold is no failure: Slurm's words are told, and what is released is used."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1, job_extra_directives=["--hold"]))
        await is_told(daskd, "INSTANCE_WAITS", "JobHeldUser")
        [job] = system.jobs("PENDING")
        system.ask("scontrol", "release", job)
        await comes_to(daskd, has(1), "it runs")


async def test_what_can_never_run_fails_with_slurms_words(daemon: DaemonProcess, system: Slurm) -> None:
    """A job beyond its partition's limits is given up after a minute, and a partition that is not there at once."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1, walltime="10:00:00"))
        await is_told(daskd, "START_TIMED_OUT", "PartitionTimeLimit")
        ending = await daskd.delete("sim")
        await comes_to(daskd, lambda cluster: cluster.phase is Phase.STOPPED, "it has ended", SLOW, ending.uid)
        refused = await daskd.create("other", spec(1, queue="nowhere"))

        async def has_failed() -> bool:
            return (await daskd.get(refused.uid)).phase is Phase.FAILED

        await eventually(has_failed, "it has failed", 90)
        assert "partition" in (await daskd.get(refused.uid)).message.lower()


async def test_want_of_room_is_no_failure(daemon: DaemonProcess, system: Slurm) -> None:
    """However often a partition takes nothing now, its cluster has not failed, and runs once there is room."""
    system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=drain")
    try:
        async with AsyncDaskd(daemon.address) as daskd:
            await daskd.create("sim", spec(1))

            async def is_refused_often() -> bool:
                return (await told(daskd, "LAUNCH_REFUSED")).count("Required partition not available") > 5

            await eventually(is_refused_often, "it was refused more often than a failing cluster", SLOW)
            assert (await daskd.get("sim")).phase is Phase.RUNNING
            system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=up")
            await comes_to(daskd, has(1), "it runs", SLOW)
    finally:
        system.ask("scontrol", "update", f"partitionname={PARTITION}", "state=up")


async def test_what_a_job_prints_before_its_node_is_in_the_log(daemon: DaemonProcess, system: Slurm) -> None:
    """The prologue's own output explains a job that fails in it."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create("sim", spec(1, shebang="#!/nonexistent/shell"))
        await is_told(daskd, "WORKER_START_FAILED", "nonexistent/shell")


async def test_no_secret_stands_in_what_others_can_read(daemon: DaemonProcess, system: Slurm) -> None:
    """Neither Slurm's word of the job nor a command line shows a variable of the request or a key."""
    async with AsyncDaskd(daemon.address) as daskd:
        secret = {"DATABASE_PASSWORD": "correct-horse"}
        await daskd.create("sim", replace(spec(1), groups=(replace(spec(1).groups[0], environment=secret),)))
        await comes_to(daskd, has(1), "it runs")
        [job] = system.jobs("RUNNING")
        assert "correct-horse" not in system.ask("scontrol", "show", "job", job)
        assert not [line for line in system.processes().values() if "correct-horse" in line or "PRIVATE KEY" in line]
        assert not [path for path in (daemon.folder / "shared").rglob("*.key") if path.stat().st_mode & 0o077]


def test_a_script_can_be_looked_at_before_and_after(daemon: DaemonProcess) -> None:
    """A dry run shows command and script, with no value of a variable; a cluster that there is has the same script."""
    argv = [sys.executable, "-m", "daskctl", "create", "sim", "--driver", "slurm", "-n", "2", "--option"]
    argv += [f"queue={PARTITION}", "--memory", "300MB", "--option", "walltime=00:30:00", "--env", "TOKEN=s3cret"]
    done = subprocess.run(
        [*argv, "--dry-run"], env=daemon.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "# group default, driver slurm: 2 jobs, 2 workers" in done.stdout
    assert "\n$ sbatch " in done.stdout
    assert "s3cret" not in done.stdout
    with create(daemon, 2, environment={"TOKEN": "s3cret"}) as cluster:
        script = cluster.job_script()
        assert "s3cret" not in script
        headers = [[line for line in text.splitlines() if line[:1] == "#"] for text in (script, done.stdout)]
        assert f"#SBATCH --partition={PARTITION}" in headers[0]
        assert headers[0] == headers[1][1:]
        cluster.shutdown()


async def test_no_more_jobs_wait_than_the_site_allows(unstarted: DaemonProcess, system: Slurm) -> None:
    """Two clusters of one user queue no more jobs than they may together; the others are told, and come in turn."""
    drivers = "[drivers.slurm]\n"
    unstarted.config.write_text(unstarted.config.read_text().replace(drivers, drivers + "max_queued = 3\n"))
    unstarted.start()
    async with AsyncDaskd(unstarted.address) as daskd:
        # nothing of a held job's starts
        await daskd.create("sim", spec(4, job_extra_directives=["--hold"]))
        await daskd.create("two", spec(4, job_extra_directives=["--hold"]))
        for name in ("sim", "two"):
            await comes_to(daskd, lambda cluster: "the site allows 3" in cluster.groups[0].message, "told", of=name)
        until(lambda: len(system.jobs("PENDING")) == 3, "three jobs wait")
        released = set(system.jobs("PENDING"))
        for job in released:
            system.ask("scontrol", "release", job)
        until(lambda: set(system.jobs("PENDING")) - released, "others are submitted once these run", SLOW)
        assert len(system.jobs("PENDING")) <= 3
        for name in ("sim", "two"):
            assert (await daskd.get(name)).groups[0].failures == 0
            await daskd.delete(name)
