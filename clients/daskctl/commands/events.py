"""`daskctl events`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import click

from daskd_client import AsyncDaskd, InvalidArgument, NotAllowed
from daskd_client.types import Event, WatchKind

from ..framing import Example, command, complete_cluster
from ..render import events as rendering
from ..session import Session
from ..waiting import has_ended


@dataclass(frozen=True)
class EventsOptions:
    """What `events` is asked for."""

    name: str | None
    daemon: bool
    follow: bool


@command(
    "events",
    EventsOptions,
    examples=(
        Example("What happened to a cluster, and why", "daskctl events etl"),
        Example("The same as it happens, until the cluster has ended", "daskctl events etl -f"),
        Example("What the daemon refused to whom, for administrators", "daskctl events --daemon"),
    ),
)
@click.argument("name", required=False, shell_complete=complete_cluster)
@click.option("--daemon", is_flag=True, help="The daemon's own history instead; for administrators.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the cluster has ended.")
async def events(options: EventsOptions, session: Session) -> None:
    """List a cluster's history, oldest first.

    With -f, -o json prints a document a line as each event happens. The daemon's own history is what was no cluster's:
    calls that it refused, tokens that were made and ended.
    """
    printer = session.printer
    name = _subject(options)
    async with session.connect() as daskd:
        if options.follow:
            await printer.stream("events", follow(daskd, name), rendering.LINE, endless=True)
        elif options.daemon:
            printer.rows("events", await _of_daemon(daskd), rendering.ROW, nothing="No events of the daemon's own.")
        else:
            printer.rows("events", await daskd.events(name), rendering.ROW, nothing=f"No events of {name}.")


def _subject(options: EventsOptions) -> str:
    """Whose history is asked for: a cluster's name; empty for the daemon."""
    if (options.name is None) != options.daemon:
        raise click.UsageError("name a cluster, or say --daemon for the daemon's own history")
    if options.daemon and options.follow:
        raise click.UsageError("-f follows a cluster until its end; the daemon's own history is listed only")
    return options.name or ""


async def _of_daemon(daskd: AsyncDaskd) -> list[Event]:
    try:
        return await daskd.events("")
    except InvalidArgument as error:
        # to anybody else a call without a name is one that forgot it
        words = "The daemon's own history is for administrators; `daskctl info` tells whom the daemon takes you for."
        raise NotAllowed(words, facts=error.facts) from error


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
