"""`daskctl workers`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..framing import Example, cluster_argument, command
from ..render import workers as rendering
from ..session import Session


@dataclass(frozen=True)
class WorkersOptions:
    """What `workers` is asked for."""

    name: str
    group: str
    all_: bool


@command(
    "workers",
    WorkersOptions,
    examples=(
        Example("Workers, those on their way too", "daskctl workers etl"),
        Example("Why workers ended", "daskctl workers etl --all"),
    ),
)
@cluster_argument
@click.option("--group", default="", help="Only this group's.")
@click.option("-a", "--all", "all_", is_flag=True, help="Those that ended, too, as long as they are remembered.")
async def workers(options: WorkersOptions, session: Session) -> None:
    """List a cluster's workers."""
    async with session.connect() as daskd:
        found = await daskd.workers(options.name, group=options.group, include_ended=options.all_)
    session.printer.rows("workers", found, rendering.ROW, nothing=f"No workers in {options.name}.")
