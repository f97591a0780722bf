"""`daskctl share` and `daskctl unshare`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..framing import Example, cluster_argument, command
from ..render import clusters
from ..session import Session

RIGHTS = ("view", "use", "manage")


@dataclass(frozen=True)
class ShareOptions:
    """What `share` is asked for."""

    name: str
    who: str
    right: str


@command(
    "share",
    ShareOptions,
    examples=(
        Example("Let a colleague connect to a cluster", "daskctl share etl bob"),
        Example("Let a group see it and its logs", "daskctl share etl @staff --right view"),
    ),
)
@cluster_argument
@click.argument("who")
@click.option("--right", type=click.Choice(RIGHTS), default="use", show_default=True, help="What WHO may do with it.")
async def share(options: ShareOptions, session: Session) -> None:
    """Share a cluster with WHO: a user, or @ and a group.

    To "view" is to see it and its logs. To "use" is to connect to it too: who does can run code as you. To "manage" is
    to scale and end it too. WHO names it OWNER/NAME.
    """
    async with session.connect() as daskd:
        cluster = await daskd.share(options.name, options.who, options.right)
    session.printer.row(cluster, clusters.SHARED_ROW)


@dataclass(frozen=True)
class UnshareOptions:
    """What `unshare` is asked for."""

    name: str
    who: str


@command("unshare", UnshareOptions, examples=(Example("Share it with Bob no more", "daskctl unshare etl bob"),))
@cluster_argument
@click.argument("who")
async def unshare(options: UnshareOptions, session: Session) -> None:
    """Share a cluster with WHO no more. Clients of theirs that are connected stay so until it ends."""
    async with session.connect() as daskd:
        cluster = await daskd.unshare(options.name, options.who)
    session.printer.row(cluster, clusters.SHARED_ROW)
