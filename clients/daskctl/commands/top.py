"""`daskctl top`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import click

from daskd_client import AsyncDaskd

from ..framing import Example, command, complete_cluster
from ..render.printer import Format
from ..render.top import CLUSTER_ROW, WORKER_ROW
from ..session import Session
from ..top.feed import Feed
from ..top.picture import Picture, load_of
from ..top.view import View
from ..values import Duration

_LEAST_INTERVAL_S = 0.1


@dataclass(frozen=True)
class TopOptions:
    """What `top` is asked for."""

    name: str | None
    interval: float
    once: bool


def _interval(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if value < _LEAST_INTERVAL_S:
        raise click.BadParameter(f"write {_LEAST_INTERVAL_S:g}s or more")
    return value


@command(
    "top",
    TopOptions,
    examples=(
        Example("Your clusters and what they do, live", "daskctl top"),
        Example("The workers of one, and its last events", "daskctl top etl"),
        Example("The same once, for a script", "daskctl top --once -o json"),
    ),
)
@click.argument("name", required=False, shell_complete=complete_cluster)
@click.option(
    "--interval",
    type=Duration(),
    default="1s",
    show_default=True,
    callback=_interval,
    help="How often to look at work.",
)
@click.option("--once", is_flag=True, help="Print what there is now, and end.")
async def top(options: TopOptions, session: Session) -> None:
    """Show clusters, or one cluster's workers, on the full screen as they change.

    Keys: q quits, ? explains the others. Clusters are told as they change; what their workers hold and do is asked for
    at each interval. A daemon that is started again is waited for.
    """
    if not options.once:
        _check_terminal(session)
    async with session.connect() as daskd:
        if options.once:
            await _print(daskd, options.name, session)
        else:
            await _show(daskd, options.name, options.interval)


def _check_terminal(session: Session) -> None:
    if session.printer.format is not Format.TABLE:
        raise click.UsageError(
            f"top -o {session.printer.format.value} needs --once: what goes on has no end for a document"
        )
    if not (sys.stdin.isatty() and session.printer.out.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise click.UsageError(
            "top needs a terminal for its screen and its keys: use --once to print what there is now"
        )


async def _print(daskd: AsyncDaskd, name: str | None, session: Session) -> None:
    if name is not None:
        workers = await daskd.workers(name)
        session.printer.rows("workers", workers, WORKER_ROW, nothing=f"No workers in {name}.")
        return
    loads = [load_of(cluster, await daskd.workers(cluster.uid)) for cluster in await daskd.list_clusters()]
    session.printer.rows("clusters", loads, CLUSTER_ROW, nothing="No clusters. Make one: daskctl create NAME -n 4")


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


async def _show(daskd: AsyncDaskd, name: str | None, interval_s: float) -> None:
    # Terminals are driven by what Windows does not have, and where every other command works.
    from ..top.screen import Screen

    # Before the screen is taken: whoever names nothing, or reaches no daemon, is told so where they typed it.
    opened = (await daskd.get(name)).uid if name is not None else ""
    picture = Picture(await daskd.info(), _utc_now())
    view = View(opened=opened, is_fixed=bool(opened))
    screen = Screen(sys.stdout, sys.stdin.fileno(), picture, view, clock=_utc_now)
    feed = Feed(
        daskd,
        picture,
        only=opened,
        opened=lambda: screen.view.opened,
        interval_s=interval_s,
        changed=screen.touch,
        clock=_utc_now,
    )
    screen.reopened = feed.hurry
    await _until_first(screen.run(), feed.follow(), feed.ask())


async def _until_first(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one has ended; then end the others, and raise what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # each is waited for, so that the terminal is as it was before anything is said on it
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
