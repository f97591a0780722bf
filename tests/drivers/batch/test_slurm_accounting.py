"""A real Slurm with accounting: what it remembers when squeue has forgotten, and the limits that come with it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from time import sleep

import pytest
from distributed import Client

from daskd_client import AsyncDaskd, RemoteCluster
from daskd_client.types import Phase
from tests.daemon_process import DaemonProcess, until

from .clusters import NAME, SLOW, comes_to, has, is_told, spec
from .lab import LIVING, Slurm, Unavailable, slurm
from .slurm_accounts import accounts

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

FORGETFUL = {"MinJobAge": "5"}
STRICT = {
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "1",
    "JobAcctGatherParams": "OverMemoryKill",
}

ROOMY = "700MB"
"""Enough for all of a job's processes, which are counted together here."""


@pytest.fixture(scope="module")
def system() -> Iterator[Slurm]:
    """A Slurm that forgets soon, counts memory, has accounting, and an account whose users may submit two jobs."""
    try:
        with slurm(1, accounts=accounts, changes=FORGETFUL | STRICT) as made:
            made.ask("sacctmgr", "-i", "add", "account", "tight")
            made.ask("sacctmgr", "-i", "add", "user", "root", "account=tight", "maxsubmitjobs=2")
            until(lambda: {"root", "tight"} <= known_accounts(made), "the controller has heard of the accounts")
            yield made
    except Unavailable as refusal:
        pytest.skip(f"there is no Slurm with accounting here: {refusal}")


def known_accounts(system: Slurm) -> set[str]:
    """The accounts of root that jobs may name by now."""
    told = system.ask("scontrol", "show", "assoc_mgr", "flags=assoc")
    return set(re.findall(r"Account=(\w+) UserName=root", told))


def everything(system: Slurm) -> list[str]:
    """All that squeue tells of, what has ended too."""
    return system.ask("squeue", "-h", "-r", "-t", "all", "-o", "%i").split()


def killed(system: Slurm) -> None:
    """All that runs is killed at once, supervisors too, which leave no record then."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in system.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


async def test_an_end_that_squeue_forgot_is_told_by_accounting(daemon: DaemonProcess, system: Slurm) -> None:
    """While no daemon looked a job was killed, and Slurm forgot it: its end is known all the same, and replaced."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(1, memory=ROOMY))
        await comes_to(daskd, has(1), "it runs")
        [before] = await daskd.workers(NAME)
    [job] = system.jobs("RUNNING")
    daemon.kill()
    killed(system)
    until(lambda: job not in system.jobs(*LIVING), "it has ended")
    until(lambda: job not in everything(system), "it is forgotten", SLOW)
    daemon.start()
    async with AsyncDaskd(daemon.address) as daskd:
        await is_told(daskd, "WORKER_LOST", "signal 9")
        await comes_to(daskd, has(1), "another has joined", SLOW)
        assert before.instance not in {worker.instance for worker in await daskd.workers(NAME)}


async def test_a_limit_of_the_account_is_told_and_ends_nothing(daemon: DaemonProcess, system: Slurm) -> None:
    """A third job where two are allowed is refused with Slurm's words; the two run on, and once allowed so does it."""
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, spec(2, memory=ROOMY, account="tight"))
        await comes_to(daskd, has(2), "it runs")
        jobs = system.jobs("RUNNING")
        await daskd.scale(NAME, 3)
        await is_told(daskd, "LAUNCH_REFUSED", "Job violates accounting/QOS policy")
        cluster = await daskd.get(NAME)
        assert (cluster.phase, cluster.groups[0].running) == (Phase.RUNNING, 2)
        assert "Job violates accounting/QOS policy" in cluster.groups[0].message
        assert system.jobs("RUNNING") == jobs
        system.ask("sacctmgr", "-i", "modify", "user", "root", "where", "account=tight", "set", "maxsubmitjobs=3")
        try:
            await comes_to(daskd, has(3), "a third has joined", SLOW)
        finally:
            system.ask("sacctmgr", "-i", "modify", "user", "root", "where", "account=tight", "set", "maxsubmitjobs=2")


async def test_a_job_that_takes_more_memory_than_it_asked_for_is_told(daemon: DaemonProcess, system: Slurm) -> None:
    """Slurm kills the whole of it: the signal is told, Slurm's reason is in the worker's log, and another joins."""
    wanted = spec(1, memory=ROOMY)
    async with AsyncDaskd(daemon.address) as daskd:
        await daskd.create(NAME, replace(wanted, groups=(replace(wanted.groups[0], memory_limit="0"),)))
        await comes_to(daskd, has(1), "it runs")
        [first] = await daskd.workers(NAME)
        cluster = await asyncio.to_thread(RemoteCluster.attach, NAME, address=daemon.address)
        with Client(cluster) as client:
            greedy = client.submit(lambda: (b"x" * (1 << 30), sleep(600))[1], pure=False)
            await is_told(daskd, "WORKER_LOST", "signal 9")
            greedy.cancel()
        await comes_to(daskd, has(1), "another has joined", SLOW)
        log = await asyncio.to_thread(cluster.get_logs, scheduler=False)
        assert "exceeded memory limit" in str(log), first
        cluster.close()
