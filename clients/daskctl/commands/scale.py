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
    n_workers: int | None
    cores: int | None
    memory: str | None
    group: str
    no_wait: bool
    timeout: float | None


@command(
    "scale",
    ScaleOptions,
    examples=(
        Example("Ten workers, and wait for them", "daskctl scale etl 10"),
        Example("None, while nobody needs the cluster; what they store is lost", "daskctl scale etl 0"),
        Example("As many workers as it takes to have 32 threads, or 64 GiB", "daskctl scale etl --cores 32"),
        Example("Two of the workers with more memory", "daskctl scale etl 2 --group highmem"),
    ),
)
@cluster_argument
@click.argument("n_workers", metavar="[N]", required=False, type=click.IntRange(min=0))
@click.option("--cores", type=click.IntRange(min=0), help="Instead of N: threads, in whole workers, rounded up.")
@click.option("--memory", metavar="M", help='Instead of N: memory ("64GiB"), in whole workers, rounded up.')
@click.option("--group", default="", help="The worker group.  [default: the first one]")
@wait_options("the group has so many workers")
async def scale(options: ScaleOptions, session: Session) -> None:
    """Set how many workers a group of a cluster has. This turns its adaptive policy off."""
    printer = session.printer
    if sum(each is not None for each in (options.n_workers, options.cores, options.memory)) != 1:
        raise click.UsageError("say how much there shall be: N workers, --cores or --memory, one of them")
    async with session.connect() as daskd:
        before = await daskd.get(options.name)
        cluster = await daskd.scale(
            before.uid, options.n_workers, options.group, cores=options.cores, memory=options.memory
        )
        if before.group(options.group).adaptive is not None:
            printer.say(f"The adaptive policy of {cluster.name} is off now.")
        if not options.no_wait:
            goal = waiting.scaled(options.group, cluster.group(options.group).desired)
            cluster = await waiting.until(daskd, cluster, goal, printer, options.timeout)
    printer.row(cluster, clusters.ROW)
