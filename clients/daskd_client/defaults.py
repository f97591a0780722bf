"""Dask's configuration as far as it is ours: the packaged defaults, and the settings read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.config
import yaml
from dask.utils import parse_timedelta

from .errors import InvalidArgument

_FILE = Path(__file__).with_name("daskd.yaml")


def install() -> None:
    """Lay the packaged defaults under Dask's configuration, and leave a commented copy for the user to edit."""
    with _FILE.open(encoding="utf-8") as file:
        dask.config.update_defaults(yaml.safe_load(file))
    dask.config.ensure_file(source=str(_FILE), comment=True)


def setting(name: str, given: Any = None) -> Any:
    """What was given for a setting, else what Dask's configuration says."""
    return given if given is not None else dask.config.get(f"daskd.{name}", None)


def choice(name: str, given: Any, allowed: tuple[str, ...]) -> str:
    """A setting that is one of a few words.

    Raises
    ------
    InvalidArgument
        It is another.
    """
    value = setting(name, given)
    if value not in allowed:
        words = " or ".join(repr(word) for word in allowed)
        raise InvalidArgument(f"{name.replace('-', '_')} must be {words}, not {value!r}.", facts={name: str(value)})
    return str(value)


def seconds(name: str, given: Any) -> float | None:
    """A duration: seconds, a timedelta, or as Dask writes it (``"5 minutes"``). None: no bound.

    Raises
    ------
    InvalidArgument
        It is no duration.
    """
    try:
        parsed = parse_timedelta(given, "s")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{name}={given!r} is no duration: write seconds, or text such as '30s' or '5 minutes'.",
            facts={name: str(given)},
        ) from error
    return None if parsed is None else float(parsed)
