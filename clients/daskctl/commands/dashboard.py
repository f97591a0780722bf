"""`daskctl dashboard`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import click

from ..browser import open_privately
from ..framing import Example, cluster_argument, command
from ..render import clusters
from ..session import Session


@dataclass(frozen=True)
class DashboardOptions:
    """What `dashboard` is asked for."""

    name: str
    open: bool


@command(
    "dashboard",
    DashboardOptions,
    examples=(
        Example("A link to see a cluster at work", "daskctl dashboard etl"),
        Example("In this machine's browser, at once", "daskctl dashboard etl --open"),
    ),
)
@cluster_argument
@click.option("--open", is_flag=True, help="Open it in a browser.")
async def dashboard(options: DashboardOptions, session: Session) -> None:
    """Print a link to a cluster's dashboard.

    Where the daemon serves dashboards the link opens once, within a minute, and logs that browser in as you, for this
    cluster's dashboard alone.
    """
    async with session.connect() as daskd:
        link = await daskd.dashboard_link(options.name)
    session.printer.facts(link, partial(clusters.dashboard_facts, link))
    if options.open and not open_privately(link.link):
        session.printer.tell("No browser could be opened: open the link yourself.")
