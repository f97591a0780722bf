"""Pure: whether a driver can launch a cluster's scheduler as a spec wants it, and what that leaves open, decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.problems import shown
from daskd.model.spec import ClusterSpec, Placement, SchedulerSpec
from daskd.model.views import DriverInfo

from .checks import driver_problems

_FIELDS = {"driver": "driver", "options": "driver_options", "prologue": "prologue"}
"""Where of the scheduler's spec stands what its driver sees as a group's."""


def scheduler_problems(spec: ClusterSpec, drivers: Mapping[str, DriverInfo], who: Identity) -> list[Problem]:
    """What speaks against the scheduler's placement, each with its field of the spec."""
    scheduler = spec.scheduler
    if not scheduler.is_placed:
        return _without_driver(scheduler)
    group = spec.scheduler_group
    driver = drivers.get(group.driver)
    is_usable = driver is not None and driver.available
    if not is_usable and not scheduler.driver:
        return []  # it is the first group's, of which that is told already
    if driver is not None and is_usable and not driver.places_schedulers:
        words = _unfit(group.driver, drivers)
        return [Problem("scheduler.driver" if scheduler.driver else "scheduler.placement", words)]
    problems = [_of_scheduler(problem) for problem in driver_problems(group, drivers, who)]
    if scheduler.network is False:
        words = "a scheduler that a driver places is reached over the network: leave it out"
        problems.append(Problem("scheduler.network", words))
    return problems


def decided(spec: ClusterSpec, drivers: Mapping[str, DriverInfo]) -> SchedulerSpec:
    """The scheduler's spec with what it leaves open decided: its driver, and whether others reach it."""
    scheduler, network = spec.scheduler, spec.scheduler.network
    if scheduler.is_placed:
        return scheduler.model_copy(update={"network": True, "driver": spec.scheduler_group.driver})
    if network is None:
        network = any(drivers[group.driver].elsewhere for group in spec.groups)
    return scheduler.model_copy(update={"network": network})


def without_foreign_options(under: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A profile's spec of the scheduler, without options of another driver than the one that the request chose."""
    is_other = "driver" in asked and asked["driver"] != under.get("driver")
    return {key: value for key, value in under.items() if not (is_other and key == "driver_options")}


def _without_driver(scheduler: SchedulerSpec) -> list[Problem]:
    words = f"only a scheduler of the placement {Placement.DRIVER.value!r} has one: set that, or leave this out"
    said = {"driver": scheduler.driver, "driver_options": scheduler.driver_options}
    return [Problem(f"scheduler.{name}", words) for name, value in said.items() if value]


def _unfit(name: str, drivers: Mapping[str, DriverInfo]) -> str:
    fit = sorted(driver.name for driver in drivers.values() if driver.available and driver.places_schedulers)
    there = f"name another by `scheduler.driver` ({', '.join(fit)}), or leave" if fit else "leave"
    return (
        f"the driver {shown(name)} places no schedulers: {there} out the placement {Placement.DRIVER.value!r}, for a "
        "process on the daemon's machine"
    )


def _of_scheduler(problem: Problem) -> Problem:
    field, dot, rest = problem.field.partition(".")
    return Problem(f"scheduler.{_FIELDS.get(field, field)}{dot}{rest}", problem.words)
