"""`daskctl create`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click

from daskd_client.types import ClusterSpec, IdleAction, SchedulerLossAction, SchedulerSpec, WorkerGroupSpec

from .. import waiting
from ..framing import Example, command, wait_options
from ..group_options import GroupOptions, group_of, group_options
from ..render import clusters, previews
from ..session import Session
from ..values import DriverOption, Duration, Variable


@dataclass(frozen=True)
class CreateOptions(GroupOptions):
    """What `create` is asked for; empty and None leave it to the profile, then to the daemon. Seconds."""

    name: str
    profile: str
    python: str
    cwd: str
    env: tuple[tuple[str, str], ...]
    idle_timeout: float | None
    on_idle: str | None
    scheduler_placement: str | None
    scheduler_driver: str
    scheduler_option: tuple[tuple[str, Any], ...]
    on_scheduler_loss: str | None
    max_lifetime: float | None
    dry_run: bool
    no_wait: bool
    timeout: float | None


@command(
    "create",
    CreateOptions,
    examples=(
        Example("Four workers on the daemon's machine", "daskctl create etl -n 4 --threads 2 --memory 4GiB"),
        Example("Between 0 and 20, as the work asks", "daskctl create etl --min 0 --max 20"),
        Example(
            "Processes of four workers each, less urgent than others",
            "daskctl create sim -n 16 --workers-per-node 4 --option nice=10",
        ),
        Example(
            "Twelve hours at most, and no workers while idle",
            "daskctl create lab -n 4 --max-lifetime 12h --idle-timeout 1h --on-idle scale-to-zero",
        ),
        Example(
            "Jobs, the scheduler one of them",
            "daskctl create sim --driver slurm -n 8 --option queue=main --scheduler-placement driver "
            "--scheduler-option queue=long",
        ),
        Example("Check everything, make nothing", "daskctl create etl -n 4 --dry-run"),
        Example("A secret from this shell, not in the process table", "daskctl create etl -n 4 --env API_TOKEN"),
    ),
)
@click.argument("name", required=False, default="")
@click.option("--profile", default="", help="The administrator's template to build on (see: daskctl profiles).")
@group_options
@click.option("--python", default="", help="The Python that runs scheduler and workers.")
@click.option("--cwd", metavar="PATH", default="", help="Their working directory.")
@click.option("--env", type=Variable(), multiple=True, help="A variable of their environment. Repeatable.")
@click.option("--idle-timeout", type=Duration(), help="How long nothing may be computed before --on-idle.")
@click.option(
    "--on-idle",
    type=click.Choice(("delete", "scale-to-zero")),
    help="End the idle cluster, or let its workers go and keep the scheduler.",
)
@click.option(
    "--on-scheduler-loss",
    type=click.Choice(("resume", "restart", "fail")),
    help="When its scheduler ends unasked: go on with its work, begin empty, or end the cluster.",
)
@click.option("--max-lifetime", type=Duration(), help="End the cluster after so long, whatever it computes.")
@click.option(
    "--scheduler-placement",
    type=click.Choice(("process", "embedded", "driver")),
    help="Where the scheduler runs: beside the daemon, in it, or where a driver launches it.",
)
@click.option("--scheduler-driver", default="", help="What launches the scheduler; by default what does the workers.")
@click.option(
    "--scheduler-option",
    type=DriverOption(),
    multiple=True,
    help="An option of that driver for the scheduler; JSON or text. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Do every check, make nothing, show what would be made and submitted.")
@wait_options("the scheduler and the workers run")
async def create(options: CreateOptions, session: Session) -> None:
    """Make a cluster. Without a NAME, one is made up.

    It goes on when you leave; `daskctl delete` ends it.
    """
    printer = session.printer
    spec = spec_of(options)
    async with session.connect() as daskd:
        if options.dry_run:
            previews.show(await daskd.preview(options.name, spec), printer)
            return
        cluster = await daskd.create(options.name, spec)
        if not options.no_wait:
            cluster = await waiting.until(daskd, cluster, waiting.started(), printer, options.timeout)
            printer.say(f'{cluster.name} runs. In Python: RemoteCluster.attach("{cluster.name}")')
    printer.row(cluster, clusters.ROW)


def spec_of(options: CreateOptions) -> ClusterSpec:
    """The spec that the options ask for; what they leave open is absent.

    Raises
    ------
    click.UsageError
        When no number of workers lies between the bounds of the adaptive policy.
    """
    group = group_of(options)
    # A group of one's own hides the profile's: none is sent unless something is said about it.
    says_something = group != WorkerGroupSpec()
    return ClusterSpec(
        profile=options.profile,
        groups=(group,) if says_something else (),
        python=options.python,
        cwd=options.cwd,
        environment=dict(options.env),
        idle_timeout=_length(options.idle_timeout),
        on_idle=IdleAction[(options.on_idle or "unspecified").replace("-", "_").upper()],
        on_scheduler_loss=SchedulerLossAction[(options.on_scheduler_loss or "unspecified").upper()],
        max_lifetime=_length(options.max_lifetime),
        scheduler=_scheduler(options),
    )


def _scheduler(options: CreateOptions) -> SchedulerSpec | None:
    # what launches it, or is told of it, says that something is to
    says_driver = bool(options.scheduler_driver or options.scheduler_option)
    spec = SchedulerSpec(
        placement=options.scheduler_placement or ("driver" if says_driver else ""),
        driver=options.scheduler_driver,
        driver_options=dict(options.scheduler_option),
    )
    return None if spec == SchedulerSpec() else spec


def _length(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
