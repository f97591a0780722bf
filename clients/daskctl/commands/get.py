"""`daskctl get`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..framing import Example, cluster_argument, command
from ..render import clusters
from ..session import Session


@dataclass(frozen=True)
class GetOptions:
    """What `get` is asked for."""

    name: str


@command(
    "get",
    GetOptions,
    examples=(
        Example("Everything about a cluster", "daskctl get etl"),
        Example("Where its dashboard is", "daskctl get etl -o json | jq -r .scheduler.dashboard_link"),
    ),
)
@cluster_argument
async def get(options: GetOptions, session: Session) -> None:
    """Show a cluster, by its name or uid. The uid reaches an ended one too."""
    async with session.connect() as daskd:
        cluster = await daskd.get(options.name)
    session.printer.facts(cluster, partial(clusters.facts, cluster))
