"""How the daemon and what it offers look: itself, its drivers, its profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from daskd_client.types import DaemonInfo, Driver, Profile

from .table import Cell, Column, when_past


def _options(driver: Driver) -> str:
    properties: Mapping[str, Any] = driver.options_schema.get("properties", {})
    return " ".join(properties)


def _defaults(defaults: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in defaults.items():
        if isinstance(value, Mapping):
            yield from _defaults(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value}"


DRIVER_ROW: tuple[Column[Driver], ...] = (
    Column("NAME", lambda driver, _now: Cell(driver.name, style="bold")),
    Column(
        "AVAILABLE",
        lambda driver, _now: Cell(*(("yes", None, "green") if driver.available else ("no", None, "red"))),
    ),
    Column("OPTIONS", lambda driver, _now: Cell(_options(driver)), wraps=True),
    Column("DESCRIPTION", lambda driver, _now: Cell(driver.description), wraps=True),
    Column("MESSAGE", lambda driver, _now: Cell(driver.message), wraps=True),
)
"""One driver a line."""

PROFILE_ROW: tuple[Column[Profile], ...] = (
    Column("NAME", lambda profile, _now: Cell(profile.name, style="bold")),
    Column("MOST WORKERS", lambda profile, _now: Cell(str(profile.max_workers or "")), right=True),
    Column("DEFAULTS", lambda profile, _now: Cell(" ".join(_defaults(profile.defaults))), wraps=True),
    Column("DESCRIPTION", lambda profile, _now: Cell(profile.description), wraps=True),
)
"""One profile a line."""


def daemon_facts(info: DaemonInfo, now: datetime) -> Iterator[tuple[str, Cell]]:
    """The daemon at length."""
    yield "version", Cell(info.version)
    yield "oldest client", Cell(info.minimum_client_version)
    yield "you are", Cell(info.user, style="bold")
    yield "your live clusters", Cell(str(info.live_clusters))
    yield "host", Cell(info.hostname)
    yield "process", Cell(str(info.pid))
    yield "started", when_past(info.start_time, now)
    yield "listens at", Cell(", ".join(info.listen_addresses))
    yield "state", Cell(info.state_id)
    yield "state's version", Cell(str(info.schema_version))
