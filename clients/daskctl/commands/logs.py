"""`daskctl logs`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import click

from ..framing import Example, cluster_argument, command
from ..render import logs as rendering
from ..session import Session
from ..values import Moment


@dataclass(frozen=True)
class LogsOptions:
    """What `logs` is asked for."""

    name: str
    follow: bool
    scheduler: bool
    worker: str
    tail: int | None
    since: datetime | None


@command(
    "logs",
    LogsOptions,
    examples=(
        Example("The last lines of each log", "daskctl logs etl --tail 20"),
        Example("The scheduler's, as it writes them", "daskctl logs etl -f --scheduler"),
        Example("One worker's of the last five minutes", "daskctl logs etl --worker etl-3 --since 5m"),
    ),
)
@cluster_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the cluster has ended.")
@click.option("--scheduler", is_flag=True, help="The scheduler's only.")
@click.option("--worker", metavar="W", default="", help="This worker's only, by name or instance id.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines of each log.")
@click.option("--since", metavar="T", type=Moment(), help='Only lines since then: RFC 3339, or how long ago ("5m").')
async def logs(options: LogsOptions, session: Session) -> None:
    """Print the logs of a cluster's scheduler and workers, of an ended one (by its uid) too.

    In a pipe, each line is time, source and text, tab-separated. With -f, -o json prints a document a line.
    """
    if options.scheduler and options.worker:
        raise click.UsageError("--scheduler and --worker exclude each other: with neither, all logs are printed")
    async with session.connect() as daskd:
        lines = daskd.logs(
            options.name,
            scheduler=options.scheduler,
            worker=options.worker,
            follow=options.follow,
            tail=options.tail,
            since=options.since,
        )
        await session.printer.stream("lines", lines, rendering.LINE, endless=options.follow)
