"""`daskctl scale`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from .. import waiting
from ..framing import Example, cluster_argument, command, wait_options
from ..render import clusters
from ..session import Session


@dataclass(frozen=True)
class ScaleOptions:
    """What `scale` is asked for."""

    name: str
    n_workers: int
    group: str
    no_wait: bool
    timeout: float | None


@command(
    "scale",
    ScaleOptions,
    examples=(
        Example("Ten workers, and wait for them", "daskctl scale etl 10"),
        Example("None, while nobody needs the cluster; what they store is lost", "daskctl scale etl 0"),
        Example("Two of the workers with more memory", "daskctl scale etl 2 --group highmem"),
    ),
)
@cluster_argument
@click.argument("n_workers", metavar="N", type=click.IntRange(min=0))
@click.option("--group", default="", help="The worker group.  [default: the first one]")
@wait_options("the group has N workers")
async def scale(options: ScaleOptions, session: Session) -> None:
    """Set how many workers a cluster has. This turns its adaptive policy off."""
    printer = session.printer
    async with session.connect() as daskd:
        before = await daskd.get(options.name)
        cluster = await daskd.scale(before.uid, options.n_workers, group=options.group)
        if before.group(options.group).adaptive is not None:
            printer.say(f"The adaptive policy of {cluster.name} is off now.")
        if not options.no_wait:
            goal = waiting.scaled(options.group, options.n_workers)
            cluster = await waiting.until(daskd, cluster, goal, printer, options.timeout)
    printer.row(cluster, clusters.ROW)
