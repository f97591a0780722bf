"""The program: its commands, in the order in which its help shows them."""

from __future__ import annotations

from importlib.metadata import version

import click

from .commands.adapt import adapt
from .commands.apply import apply
from .commands.completion import completion
from .commands.create import create
from .commands.dashboard import dashboard
from .commands.delete import delete
from .commands.drivers import drivers
from .commands.events import events
from .commands.explain import explain
from .commands.get import get
from .commands.group import group
from .commands.info import info
from .commands.list import list_clusters
from .commands.logs import logs
from .commands.lost import lost
from .commands.profiles import profiles
from .commands.scale import scale
from .commands.share import share, unshare
from .commands.token import token
from .commands.top import top
from .commands.workers import workers
from .framing import Example, shared_options, write_examples

COMMANDS = (
    create,
    apply,
    list_clusters,
    get,
    explain,
    workers,
    top,
    scale,
    adapt,
    group,
    logs,
    events,
    lost,
    dashboard,
    share,
    unshare,
    delete,
    profiles,
    drivers,
    info,
    token,
    completion,
)

EXAMPLES = (
    Example("Make a cluster of four workers, and wait for them", "daskctl create etl -n 4"),
    Example("See how it is", "daskctl get etl"),
    Example("Watch all of them work", "daskctl top"),
    Example("Read what it writes", "daskctl logs etl -f"),
    Example("End it", "daskctl delete etl"),
)


class Daskctl(click.Group):
    """The group of commands, which shows them in the order of `COMMANDS`, after examples."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which they were added."""
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, then options and commands."""
        write_examples(EXAMPLES, formatter)
        super().format_options(ctx, formatter)


@click.group(
    "daskctl",
    cls=Daskctl,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the daemon said no, 2 wrong usage, 3 no daemon can be reached, 130 interrupted.",
)
@shared_options
@click.version_option(version("daskd"), prog_name="daskctl")
def daskctl() -> None:
    """Dask clusters that outlive the session that made them."""


for _command in COMMANDS:
    daskctl.add_command(_command)
