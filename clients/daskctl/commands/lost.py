"""`daskctl lost`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..framing import Example, cluster_argument, command
from ..render import amounts
from ..render import lost as rendering
from ..render.table import Cell
from ..session import Session


@dataclass(frozen=True)
class LostOptions:
    """What `lost` is asked for."""

    name: str
    discard: bool
    client: str


@command(
    "lost",
    LostOptions,
    examples=(
        Example("What crashed notebooks left, still computing or done", "daskctl lost etl"),
        Example("Let go of one client's", "daskctl lost etl --discard --client Client-0a1b2c"),
        Example("Let go of it all", "daskctl lost etl --discard"),
    ),
)
@cluster_argument
@click.option("--discard", is_flag=True, help="Let go of it: cancels what still runs, frees the memory of results.")
@click.option("--client", default="", help="With --discard: only this lost client's.")
async def lost(options: LostOptions, session: Session) -> None:
    """List what lost clients left in a cluster, or let it go.

    It is had back in Python, by RemoteCluster.attach(NAME).recover(client).
    """
    if options.client and not options.discard:
        raise click.UsageError("--client goes with --discard")
    printer = session.printer
    async with session.connect() as daskd:
        if not options.discard:
            found = await daskd.held_work(options.name)
            printer.rows("held_work", found, rendering.ROW, nothing=f"No lost client's work in {options.name}.")
            return
        discarded = await daskd.discard_held_work(options.name, client=options.client)
    freed = Cell(str(discarded.bytes), amounts.size(discarded.bytes))
    printer.facts(discarded, lambda _now: (("keys", Cell(str(discarded.keys))), ("bytes", freed)))
