"""`daskctl drivers`."""

from __future__ import annotations

from dataclasses import dataclass

from ..framing import Example, command
from ..render import offers
from ..session import Session


@dataclass(frozen=True)
class DriversOptions:
    """`drivers` has none."""


@command(
    "drivers",
    DriversOptions,
    examples=(
        Example("Where workers can run, and what --option takes there", "daskctl drivers"),
        Example(
            "The full schema of a driver's options",
            "daskctl drivers -o json | jq '.drivers[] | select(.name == \"local\") | .options_schema'",
        ),
    ),
)
async def drivers(_options: DriversOptions, session: Session) -> None:
    """List the systems that can launch workers."""
    async with session.connect() as daskd:
        found = await daskd.drivers()
    session.printer.rows("drivers", found, offers.DRIVER_ROW, nothing="No drivers are installed.")
