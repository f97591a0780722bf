"""Every batch system of the tests as a daemon's driver uses it: real ones, and doubles of command lines.

A new driver adds its own: a context manager that yields a `Lab`, in `LABS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess, daemon_process, until

from . import lab as slurm_lab
from . import sge_lab
from .double_lab import double

Wrap = Callable[[Sequence[str]], list[str]]
"""What the system's own servers are started as, such as `in_reach` where jobs of several users shall run."""


@dataclass(frozen=True)
class Lab:
    """One system.

    Attributes
    ----------
    driver
        The driver's name.
    settings
        Its table in the daemon's configuration.
    options
        What a group asks of it, and how long its jobs may run.
    jobs
        Ids of all that waits, runs or ends there.
    owners
        Whose these are, by id.
    cancel
        Ends a job behind the daemon's back.
    processes
        Pids and command lines of what jobs run.
    """

    driver: str
    settings: Mapping[str, Any]
    options: Mapping[str, str]
    owners: Callable[[], Mapping[str, str]]
    cancel: Callable[[str], object]
    processes: Callable[[], Mapping[int, str]]
    walltime: str = field(default="00:30:00")

    def jobs(self) -> list[str]:
        return list(self.owners())

    def config(self, log_directory: str = "") -> str:
        """What a daemon is told: the driver's table, and the profile "jobs" of one-threaded workers there."""
        settings = {**self.settings, "per_minute": 6000, "poll": 2}
        if log_directory:
            settings["log_directory"] = log_directory
        options = {**self.options, "walltime": self.walltime}
        group = {"driver": self.driver, "nthreads": 1, "memory_limit": "300MB"}
        lines = [
            f"[drivers.{self.driver}]",
            *(f"{name} = {toml(value)}" for name, value in settings.items()),
            "[profiles.jobs.spec.group]",
            *(f"{name} = {toml(value)}" for name, value in group.items()),
            "[profiles.jobs.spec.group.options]",
            *(f"{name} = {toml(value)}" for name, value in options.items()),
        ]
        return "\n".join([*lines, ""])

    def cleared(self) -> None:
        """Nothing of anybody's is left in its queue."""
        for job in self.jobs():
            self.cancel(job)
        until(lambda: not self.jobs() and not self.processes(), "no job is left")


def toml(value: Any) -> str:
    """A number or a text as a configuration holds it."""
    return str(value) if isinstance(value, int) else f'"{value}"'


@contextmanager
def lab_daemon(lab: Lab, config: str = "") -> Iterator[DaemonProcess]:
    """A daemon that uses it, not yet started; with its end nothing is left in the queue."""
    with daemon_process(f'[clusters]\ncontact_host = "127.0.0.1"\n{config}') as process:
        with process.config.open("a") as file:
            file.write(lab.config(f"{process.folder}/shared"))
        yield process
        if process.process is not None and process.process.poll() is None:
            process.kill()
        lab.cleared()


def slurm_as_lab(system: slurm_lab.Slurm) -> Lab:
    """A Slurm that runs already."""
    return Lab(
        "slurm",
        {"conf": str(system.conf)},
        {"queue": slurm_lab.PARTITION},
        system.owners,
        lambda job: system.ask("scancel", job, check=False),
        system.processes,
    )


@contextmanager
def slurm(wrap: Wrap = list) -> Iterator[Lab]:
    """A real Slurm of two nodes."""
    try:
        with slurm_lab.slurm(2, wrap) as system:
            yield slurm_as_lab(system)
    except slurm_lab.Unavailable as refusal:
        pytest.skip(f"there is no Slurm here: {refusal}")


@contextmanager
def sge(wrap: Wrap = list) -> Iterator[Lab]:
    """A real SGE of one host."""
    try:
        with sge_lab.sge(wrap) as system:
            variables = system.variables
            yield Lab(
                "sge",
                {
                    "bin": str(sge_lab.LIB),
                    "root": variables["SGE_ROOT"],
                    "qmaster_port": int(variables["SGE_QMASTER_PORT"]),
                },
                {"queue": sge_lab.QUEUE},
                system.owners,
                lambda job: system.ask("qdel", job, check=False),
                system.processes,
            )
    except sge_lab.Unavailable as refusal:
        pytest.skip(f"there is no SGE here: {refusal}")


@contextmanager
def doubled(dialect: str, wrap: Wrap = list) -> Iterator[Lab]:
    """A double of a system's command lines."""
    with double(dialect, wrap) as system:
        yield Lab(
            dialect,
            {"bin": str(system.bin)},
            {"queue": "main"},
            system.owners,
            system.delete,
            system.processes,
        )


LABS: Mapping[str, Callable[..., AbstractContextManager[Lab]]] = {
    "lsf": partial(doubled, "lsf"),
    "moab": partial(doubled, "moab"),
    "oar": partial(doubled, "oar"),
    "pbs": partial(doubled, "pbs"),
    "sge": sge,
    "slurm": slurm,
    "torque": partial(doubled, "torque"),
}
