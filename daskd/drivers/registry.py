"""The drivers that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ValidationError

from daskd.model.errors import Problem
from daskd.model.problems import not_there, problems_of

from .protocol import Driver

GROUP = "daskd.drivers"


@dataclass(frozen=True, slots=True)
class Installed:
    """What the entry points name.

    Attributes
    ----------
    drivers
        By name, those that can be used.
    broken
        By name, why one can't: a package of its extra is not installed.
    """

    drivers: Mapping[str, Driver] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


def installed() -> Installed:
    """Every driver, from the entry points of the group `daskd.drivers`. One that can't be imported hides no other."""
    drivers: dict[str, Driver] = {}
    broken: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            drivers[point.name] = point.load()()
        except (ImportError, AttributeError) as error:  # not there, or another release's
            broken[point.name] = f"{error}: pip install 'daskd[{point.name}]' where the daemon is installed"
    return Installed(drivers, broken)


def settings_of(
    drivers: Mapping[str, Driver], given: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, BaseModel], list[Problem]]:
    """What the administrator set for each driver, checked, and what is wrong with it by its key."""
    settings: dict[str, BaseModel] = {}
    problems = [Problem(f"drivers.{name}", not_there("driver", name, drivers)) for name in given if name not in drivers]
    for name, driver in drivers.items():
        try:
            settings[name] = driver.settings.model_validate(dict(given.get(name, {})))
        except ValidationError as error:
            problems += problems_of(error, driver.settings, f"drivers.{name}")
    return settings, problems
