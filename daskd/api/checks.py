"""What a driver says of what is asked of it. Pure, but for what a driver's check reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from daskd.model.errors import Problem
from daskd.model.identity import Identity
from daskd.model.problems import near, not_there, problems_of, shown
from daskd.model.spec import WorkerGroupSpec
from daskd.model.views import DriverInfo


def driver_problems(group: WorkerGroupSpec, drivers: Mapping[str, DriverInfo], who: Identity) -> list[Problem]:
    """What is wrong with a group by the word of its driver; fields relative to the group."""
    driver = drivers.get(group.driver)
    if driver is None:
        return [Problem("driver", not_there("driver", group.driver, drivers))]
    if not driver.available:
        return [Problem("driver", f"{group.driver!r} can't be used here: {driver.words}")]
    return option_problems(driver.options, group.options) or driver.validate(group, who)


def option_problems(model: type[BaseModel], options: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a driver's options, by their model."""
    known = [field.alias or name for name, field in model.model_fields.items()]
    if not _is_finite(options):
        return [Problem("options", "they hold a number that is infinite or none: write finite numbers")]
    unknown = [name for name in options if name not in known]
    problems = [Problem(f"options.{name[:100]}", _unknown_option(name, known)) for name in unknown]
    try:
        model.model_validate({name: value for name, value in options.items() if name in known})
    except ValidationError as error:
        problems += problems_of(error, model, "options")
    return problems


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _unknown_option(name: str, known: list[str]) -> str:
    if like := near(name, known):
        return f"there is no option {shown(name)}: did you mean {like!r}?"
    if not known:
        return f"there is no option {shown(name)}: this driver has none"
    return f"there is no option {shown(name)}; there are: {', '.join(sorted(known))}"
