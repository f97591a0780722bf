"""`daskctl list`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..framing import Example, command
from ..render import clusters
from ..session import Session


@dataclass(frozen=True)
class ListOptions:
    """What `list` is asked for."""

    all_: bool


@command(
    "list",
    ListOptions,
    examples=(
        Example("Your live clusters", "daskctl list"),
        Example("Those that ended, too", "daskctl list --all"),
        Example("Names of those that run, for a script", "daskctl list | awk -F'\\t' '$3 == \"RUNNING\" {print $1}'"),
    ),
)
@click.option("-a", "--all", "all_", is_flag=True, help="Ended clusters too.")
async def list_clusters(options: ListOptions, session: Session) -> None:
    """List clusters, newest first."""
    async with session.connect() as daskd:
        found = await daskd.list_clusters(include_ended=options.all_)
    columns = clusters.ROW_WITH_UID if options.all_ else clusters.ROW
    session.printer.rows("clusters", found, columns, nothing="No clusters. Make one: daskctl create NAME -n 4")
