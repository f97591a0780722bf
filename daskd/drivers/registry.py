"""The drivers that are installed."""

from __future__ import annotations

from importlib.metadata import entry_points

from .protocol import Driver

GROUP = "daskd.drivers"


def installed() -> dict[str, Driver]:
    """Every driver by its name, from the entry points of the group `daskd.drivers`.

    Raises
    ------
    ImportError, AttributeError
        When an entry point names what can't be imported.
    """
    return {point.name: point.load()() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
