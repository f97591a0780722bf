"""What a dry run shows of jobs: what would be submitted, word for word, but for what is secret."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from daskd.drivers.batch import (
    CondorDriver,
    LsfDriver,
    MoabDriver,
    OarDriver,
    PbsDriver,
    SgeDriver,
    SlurmDriver,
    TorqueDriver,
)
from daskd.drivers.batch.driver import BatchDriver
from daskd.drivers.batch.options import BatchSettings
from daskd.drivers.batch.preview import shown
from daskd.drivers.batch.script import REDACTED, body_of, handed_over, jobs_folder
from daskd.drivers.batch.slurm_driver import SlurmSettings
from daskd.drivers.batch.system import Jobs
from daskd.drivers.protocol import Batch, Member, RuntimeSettings, Surroundings
from daskd.model.cluster import Role
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec, WorkerGroupSpec
from daskd.model.views import Preview

WHO = Identity("ann", 1000, 1000, "/home/ann")
PASSWORD = "hunter 2"
DRIVERS = [
    *(CondorDriver(), LsfDriver(), MoabDriver(), OarDriver(), PbsDriver(), SgeDriver(), SlurmDriver(), TorqueDriver()),
]


def group(driver: BatchDriver, n: int = 3, **more: object) -> WorkerGroupSpec:
    options = {"walltime": "01:00:00", "queue": "main"}
    prologue = ("module load gcc",)
    return WorkerGroupSpec(driver=driver.name, n_workers=n, options=options, prologue=prologue, **more)


def spec(group: WorkerGroupSpec) -> ClusterSpec:
    return ClusterSpec(groups=(group,), environment={"TOKEN": PASSWORD})


def preview(driver: BatchDriver, group: WorkerGroupSpec, settings: BatchSettings | None = None) -> Preview:
    where = Surroundings("abcde", Path("/var/lib/daskd"), Path("/run/daskd"), settings=settings)
    return driver.preview(spec(group), group, WHO, where)


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
def test_the_script_shown_is_the_script_submitted(driver: BatchDriver) -> None:
    """All that is submitted is shown, in its order; only the payload and values of variables are not."""
    mine = group(driver)
    members = (Member("dabcdeaaaaaaa2", 0, ("w-0",)),)
    batch = Batch(
        "<cluster>",
        "etl",
        Role.NODE,
        spec(mine),
        mine,
        members,
        "dabcdeaaaaaaa3",
        "tls://10.0.0.1:1",
        RuntimeSettings(1, 1, 1, 1, 1, 1, 1),
    )
    options = driver.options.model_validate(mine.options)
    system = driver.system()
    folder = f"/home/ann/.daskd/abcde/{driver.name}/clusters/<cluster>"
    files = {"folder": folder, "state": "abcde", "secret": {"worker.key": b"key"}}
    body = body_of(system, batch, mine, options, members, files)
    jobs = Jobs("<id>", ("<id>",) * 3, jobs_folder(folder), 10.0)
    submitted = shown(handed_over(system, options, mine, body, jobs), jobs)
    real, seen = submitted.splitlines(), preview(driver, mine).script.splitlines()
    begin = next(i for i, line in enumerate(seen) if line == REDACTED)
    end = real.index("DASKD_END", begin)
    assert [line.replace(shlex.quote(PASSWORD), f"'{REDACTED}'") for line in real[:begin]] == seen[:begin]
    assert real[end:] == seen[begin + 1 :]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
def test_nothing_secret_is_shown(driver: BatchDriver) -> None:
    """A variable's name is shown, and its value nowhere."""
    seen = preview(driver, group(driver, environment={"OTHER": PASSWORD}))
    assert PASSWORD not in seen.script + seen.command
    assert f"export TOKEN='{REDACTED}'" in seen.script
    assert "module load gcc" in seen.script


def test_the_command_is_that_of_the_first_array() -> None:
    """So many jobs as there shall be workers for, in arrays of the site's size."""
    driver = SlurmDriver()
    small = preview(driver, group(driver, 7, workers_per_node=2))
    assert "--array=0-3" in shlex.split(small.command)
    assert small.submissions == 1
    wide = preview(driver, group(driver, 9, workers_per_node=2, nodes=2))
    assert "--array=0-2" in shlex.split(wide.command)
    large = preview(driver, group(driver, 7), SlurmSettings(array_max=3))
    assert "--array=0-2" in shlex.split(large.command)
    assert large.submissions == 3
    none = preview(driver, group(driver, 0))
    assert "--array=0-0" in shlex.split(none.command)
    assert none.submissions == 0
