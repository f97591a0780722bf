"""How that looks which would be made."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from daskd_client.preview import GroupPreview, Preview

from . import clusters
from .document import document
from .printer import Format, Printer
from .table import printable


def show(preview: Preview, printer: Printer) -> None:
    """Print a cluster at length, and what would be submitted for it; as a document, the cluster's with `previews`."""
    cluster = preview.cluster
    assert cluster is not None
    if printer.format is not Format.TABLE:
        printer.document({**document(cluster), "previews": document(preview)["previews"]})
        return
    printer.facts(cluster, partial(clusters.facts, cluster))
    for group in preview.previews:
        if group.command:
            printer.lines(_lines(group))


def _lines(group: GroupPreview) -> Iterator[str]:
    yield ""
    counts = f"{_count(group.instances, 'job')}, {_count(group.workers, 'worker')}"
    yield f"# group {group.name}, driver {group.driver}: {counts}"
    if group.submissions > 1:
        yield f"# the first of {group.submissions} submissions:"
    yield f"$ {printable(group.command)}"
    yield from map(printable, group.script.splitlines())


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
