"""`daskctl group add`, `remove`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import click

from .. import waiting
from ..framing import Example, TaughtGroup, cluster_argument, command, shared_options, wait_options
from ..group_options import GroupOptions, group_of, group_options
from ..render import clusters
from ..session import Session
from ..values import Variable


@click.group(
    "group",
    cls=TaughtGroup,
    examples=(
        Example("Two workers with more memory", "daskctl group add etl highmem -n 2 --memory 16GiB"),
        Example("They are not needed any more", "daskctl group remove etl highmem"),
    ),
)
@shared_options
def group() -> None:
    """Worker groups: workers of several kinds in one cluster."""


@dataclass(frozen=True)
class AddOptions(GroupOptions):
    """What `group add` is asked for."""

    name: str
    group: str
    python: str
    cwd: str
    env: tuple[tuple[str, str], ...]
    dry_run: bool
    no_wait: bool
    timeout: float | None


@command(
    "add",
    AddOptions,
    examples=(
        Example(
            "Two workers with more memory, which tasks ask for",
            "daskctl group add etl highmem -n 2 --memory 16GiB --resource MEM=1",
        ),
        Example("Another environment", "daskctl group add etl old --python /opt/conda/envs/old/bin/python --max 4"),
    ),
)
@cluster_argument
@click.argument("group")
@group_options
@click.option("--python", default="", help="The Python that runs the workers.  [default: the cluster's]")
@click.option("--cwd", metavar="PATH", default="", help="Their working directory.  [default: the cluster's]")
@click.option("--env", type=Variable(), multiple=True, help="A variable of their environment. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Do every check, add nothing, and show what would be.")
@wait_options("its workers run")
async def add(options: AddOptions, session: Session) -> None:
    """Add the worker group GROUP to a cluster. A repeat with the same options is harmless."""
    printer = session.printer
    spec = group_of(options, name=options.group, python=options.python, cwd=options.cwd, environment=dict(options.env))
    async with session.connect() as daskd:
        cluster = await daskd.add_worker_group(options.name, spec, validate_only=options.dry_run)
        if options.dry_run:
            printer.facts(cluster, partial(clusters.facts, cluster))
            return
        if not options.no_wait:
            goal = waiting.group_started(options.group)
            cluster = await waiting.until(daskd, cluster, goal, printer, options.timeout)
    printer.row(cluster, clusters.ROW)


@dataclass(frozen=True)
class RemoveOptions:
    """What `group remove` is asked for."""

    name: str
    group: str
    no_wait: bool
    timeout: float | None


@command(
    "remove",
    RemoveOptions,
    examples=(Example("Its workers' results move, then they end", "daskctl group remove etl highmem"),),
)
@cluster_argument
@click.argument("group")
@wait_options("it is gone")
async def remove(options: RemoveOptions, session: Session) -> None:
    """Remove the worker group GROUP. What its workers store moves to others; the last group can't be removed."""
    printer = session.printer
    async with session.connect() as daskd:
        cluster = await daskd.remove_worker_group(options.name, options.group)
        if not options.no_wait:
            goal = waiting.group_gone(options.group)
            cluster = await waiting.until(daskd, cluster, goal, printer, options.timeout)
    printer.row(cluster, clusters.ROW)


for _action in (add, remove):
    group.add_command(_action)
