"""`daskctl info`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..framing import Example, command
from ..render import offers
from ..session import Session


@dataclass(frozen=True)
class InfoOptions:
    """`info` has none."""


@command(
    "info",
    InfoOptions,
    examples=(
        Example("Which daemon answers, and whom it takes you for", "daskctl info"),
        Example("The same of another one", "daskctl info --address dask.example.com:8786"),
    ),
)
async def info(_options: InfoOptions, session: Session) -> None:
    """Show the daemon."""
    async with session.connect() as daskd:
        found = await daskd.info()
    session.printer.facts(found, partial(offers.daemon_facts, found))
