"""A cluster's logs in the form that Dask's cluster classes give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from distributed.utils import Log, Logs

from .api import AsyncDaskd
from .types import Event, LogLine, Worker


async def collect_logs(
    daskd: AsyncDaskd, name: str, *, cluster: bool, scheduler: bool, workers: bool | Iterable[str]
) -> Logs:
    """The logs of a cluster: what the daemon did (``Cluster``), the scheduler's, and each worker's by its address.

    A worker that never joined has no address and stands under its name. They come from the daemon, so those of what
    crashed, or never started, are there too.

    Parameters
    ----------
    workers
        All, none, or those of these addresses or names.
    """
    logs = Logs()
    if cluster:
        logs["Cluster"] = Log("\n".join(event_line(event) for event in await daskd.events(name)))
    if scheduler:
        logs["Scheduler"] = Log("\n".join([line.text async for line in daskd.logs(name, scheduler=True)]))
    if workers:
        known = await daskd.workers(name, include_ended=True)
        lines = [line async for line in daskd.logs(name) if line.source != "scheduler"]
        wanted = None if workers is True else set(workers)
        logs.update({key: Log(text) for key, text in by_worker(lines, known, wanted).items()})
    return logs


def by_worker(lines: Iterable[LogLine], workers: Iterable[Worker], wanted: set[str] | None) -> dict[str, str]:
    """The text of each worker's log by its address, else its name; those `wanted` only, or all for None.

    Workers that share an instance share its log.
    """
    address = {worker.name: worker.address for worker in workers if worker.address}
    texts: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        for name in line.workers or (line.instance,):
            key = address.get(name, name)
            if wanted is None or key in wanted or name in wanted:
                texts[key].append(line.text)
    return {key: "\n".join(content) for key, content in texts.items()}


def event_line(event: Event) -> str:
    """An event on one line."""
    when = event.time.isoformat(timespec="milliseconds") if event.time else ""
    return f"{when} {event.actor}: {event.type} {event.message}".strip()
