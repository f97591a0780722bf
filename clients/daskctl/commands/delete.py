"""`daskctl delete`."""

from __future__ import annotations

from dataclasses import dataclass

from .. import waiting
from ..framing import Example, cluster_argument, command, wait_options
from ..render import clusters
from ..session import Session


@dataclass(frozen=True)
class DeleteOptions:
    """What `delete` is asked for."""

    name: str
    no_wait: bool
    timeout: float | None


@command(
    "delete",
    DeleteOptions,
    examples=(
        Example("End a cluster, and wait until nothing of it runs", "daskctl delete etl"),
        Example("End all that run", "daskctl list | cut -f1 | xargs -n1 daskctl delete --no-wait"),
    ),
)
@cluster_argument
@wait_options("nothing of it runs any more")
async def delete(options: DeleteOptions, session: Session) -> None:
    """End a cluster. Its workers, their results, its scheduler are gone; its history and logs stay for a while."""
    printer = session.printer
    async with session.connect() as daskd:
        cluster = await daskd.delete(options.name)
        if not options.no_wait:
            cluster = await waiting.until(daskd, cluster, waiting.ended(), printer, options.timeout)
    printer.row(cluster, clusters.ROW_WITH_UID)
