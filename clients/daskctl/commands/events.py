"""`daskctl events`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import click

from daskd_client import AsyncDaskd
from daskd_client.types import Event, WatchKind

from ..framing import Example, cluster_argument, command
from ..render import events as rendering
from ..session import Session
from ..waiting import has_ended


@dataclass(frozen=True)
class EventsOptions:
    """What `events` is asked for."""

    name: str
    follow: bool


@command(
    "events",
    EventsOptions,
    examples=(
        Example("What happened to a cluster, and why", "daskctl events etl"),
        Example("The same as it happens, until the cluster has ended", "daskctl events etl -f"),
    ),
)
@cluster_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the cluster has ended.")
async def events(options: EventsOptions, session: Session) -> None:
    """List a cluster's history, oldest first.

    With -f, -o json prints a document a line as each event happens.
    """
    printer = session.printer
    async with session.connect() as daskd:
        if not options.follow:
            found = await daskd.events(options.name)
            printer.rows("events", found, rendering.ROW, nothing=f"No events of {options.name}.")
            return
        await printer.stream("events", follow(daskd, options.name), rendering.LINE, endless=True)


async def follow(daskd: AsyncDaskd, name: str) -> AsyncIterator[Event]:
    """A cluster's events, each once and in order: those that were, then each as it happens, until its end."""
    uid = (await daskd.get(name)).uid
    told = 0
    ended = False
    async with aclosing(daskd.watch(uid, include_events=True)) as changes:
        async for change in changes:
            ended = ended or (change.cluster is not None and has_ended(change.cluster))
            # What was before the watch began, or began anew, is in the list only; so is the last of an ended cluster,
            # which a change may show as ended before its last events are told.
            is_listed = ended or change.kind is WatchKind.SYNCED
            news = await daskd.events(uid) if is_listed else [change.event]
            for event in news:
                if event is not None and event.revision > told:
                    told = event.revision
                    yield event
            if ended:
                return
