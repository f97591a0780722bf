"""`daskctl adapt`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

import click

from daskd_client.types import AdaptivePolicy

from ..framing import Example, cluster_argument, command
from ..render import clusters
from ..session import Session
from ..values import Duration


@dataclass(frozen=True)
class AdaptOptions:
    """What `adapt` is asked for; seconds."""

    name: str
    off: bool
    minimum: int | None
    maximum: int | None
    interval: float | None
    wait_count: int | None
    target_duration: float | None
    initial: int | None
    minimum_cores: int | None
    maximum_cores: int | None
    minimum_memory: str | None
    maximum_memory: str | None
    cool_down: float | None
    group: str | None


@command(
    "adapt",
    AdaptOptions,
    examples=(
        Example("As many workers as the work asks for, up to 20", "daskctl adapt etl --max 20"),
        Example("Never fewer than 2", "daskctl adapt etl --min 2 --max 20"),
        Example("The number of workers stays as it is", "daskctl adapt etl --off"),
    ),
)
@cluster_argument
@click.option("--off", is_flag=True, help="Fixed counts again, as they are now.")
@click.option("--min", "minimum", type=click.IntRange(min=0), help="Never fewer workers.  [default: 0]")
@click.option("--max", "maximum", type=click.IntRange(min=0), help="Never more.  [default: the profile's limit]")
@click.option("--interval", type=Duration(), help="How often to look.  [default: 1s]")
@click.option("--wait-count", type=click.IntRange(min=1), help="Looks in a row that must agree before a worker goes.")
@click.option("--target-duration", type=Duration(), help="How long the work in sight should take.")
@click.option("--initial", type=click.IntRange(min=0), help="So many workers until the first work is there.")
@click.option("--min-cores", "minimum_cores", type=click.IntRange(min=0), help="The bounds in threads of workers.")
@click.option("--max-cores", "maximum_cores", type=click.IntRange(min=0))
@click.option("--min-memory", "minimum_memory", metavar="M", help='The bounds in memory of workers: "64GiB".')
@click.option("--max-memory", "maximum_memory", metavar="M")
@click.option("--cool-down", type=Duration(), help="How long a worker stays after it was needed last.")
@click.option("--group", help="The worker group.  [default: the first one]")
async def adapt(options: AdaptOptions, session: Session) -> None:
    """Let the daemon set the number of workers of a group, as the work asks.

    The policy replaces the one before as a whole. It is applied whether or not any client is connected.
    """
    policy = None if options.off else policy_of(options)
    if options.off:
        _refuse_policy_with_off(options)
    async with session.connect() as daskd:
        cluster = await daskd.adapt(options.name, policy, options.group or "")
    session.printer.row(cluster, clusters.ROW)


def policy_of(options: AdaptOptions) -> AdaptivePolicy:
    """The policy that the options ask for.

    Raises
    ------
    click.UsageError
        When no number of workers lies between its bounds.
    """
    if options.minimum is not None and options.maximum is not None and options.minimum > options.maximum:
        raise click.UsageError(f"--min {options.minimum} is more than --max {options.maximum}: swap or mend them")
    return AdaptivePolicy(
        minimum=options.minimum,
        maximum=options.maximum,
        interval=_seconds(options.interval),
        wait_count=options.wait_count,
        target_duration=_seconds(options.target_duration),
        initial=options.initial,
        minimum_cores=options.minimum_cores,
        maximum_cores=options.maximum_cores,
        minimum_memory=options.minimum_memory or "",
        maximum_memory=options.maximum_memory or "",
        cool_down=_seconds(options.cool_down),
    )


def _refuse_policy_with_off(options: AdaptOptions) -> None:
    policy = (field.name for field in fields(options) if field.name not in ("name", "off", "group"))
    if any(getattr(options, name) is not None for name in policy):
        raise click.UsageError("--off takes no policy: leave the other options away")


def _seconds(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
