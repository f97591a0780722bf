"""The options that say what a worker group is like, as `create` and `group add` take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any, TypeVar

import click

from daskd_client.types import AdaptivePolicy, WorkerGroupSpec

from .values import Amount, DriverOption, Duration, WorkerOption

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class GroupOptions:
    """What a group is asked to be; empty and None leave it to the profile, then to the daemon. Seconds."""

    driver: str
    n_workers: int | None
    threads: int | None
    memory: str
    resource: tuple[tuple[str, float], ...]
    option: tuple[tuple[str, Any], ...]
    workers_per_node: int | None
    minimum: int | None
    maximum: int | None
    local_directory: str
    death_timeout: float | None
    preload: tuple[str, ...]
    worker_class: str
    worker_option: tuple[tuple[str, Any], ...]
    prologue: tuple[str, ...]


_OPTIONS = (
    click.option("--driver", default="", help="What launches the workers (see: daskctl drivers)."),
    click.option("-n", "--workers", "n_workers", metavar="N", type=click.IntRange(min=0), help="How many workers."),
    click.option("--threads", metavar="T", type=click.IntRange(min=1), help="Threads of each worker."),
    click.option(
        "--memory", metavar="M", default="", help='Memory limit of each worker: "4GiB", "auto"; "0" for none.'
    ),
    click.option("--resource", type=Amount(), multiple=True, help="A resource of each worker: GPU=1. Repeatable."),
    click.option(
        "--option", type=DriverOption(), multiple=True, help="An option of the driver; JSON or text. Repeatable."
    ),
    click.option(
        "--workers-per-node", metavar="W", type=click.IntRange(min=1), help="How many workers share a job, a pod."
    ),
    click.option("--min", "minimum", type=click.IntRange(min=0), help="Adaptive: never fewer workers than this."),
    click.option("--max", "maximum", type=click.IntRange(min=0), help="Adaptive: never more workers than this."),
    click.option("--local-directory", metavar="PATH", default="", help="Where workers spill."),
    click.option("--death-timeout", type=Duration(), help="A worker that lost its scheduler ends after so long."),
    click.option("--preload", metavar="WHAT", multiple=True, help="A module or file that workers load. Repeatable."),
    click.option("--worker-class", metavar="MODULE.CLASS", default="", help="The class of the workers."),
    click.option(
        "--worker-option",
        type=WorkerOption(),
        multiple=True,
        help="A keyword argument of it; JSON or text. Repeatable.",
    ),
    click.option("--prologue", metavar="LINE", multiple=True, help="A line of shell to run before. Repeatable."),
)


def group_options(function: Decorated) -> Decorated:
    """Give a command all of them."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), function)


def group_of(options: GroupOptions, **more: Any) -> WorkerGroupSpec:
    """The group that the options ask for, and what else is said of it.

    Raises
    ------
    click.UsageError
        When no number of workers lies between the bounds of the adaptive policy.
    """
    return WorkerGroupSpec(
        driver=options.driver,
        n_workers=options.n_workers,
        nthreads=options.threads or 0,
        memory_limit=options.memory,
        workers_per_node=options.workers_per_node or 0,
        resources=dict(options.resource),
        options=dict(options.option),
        adaptive=_adaptive(options.minimum, options.maximum),
        local_directory=options.local_directory,
        death_timeout=None if options.death_timeout is None else timedelta(seconds=options.death_timeout),
        preload=options.preload,
        worker_class=options.worker_class,
        worker_options=dict(options.worker_option),
        prologue=options.prologue,
        **more,
    )


def _adaptive(minimum: int | None, maximum: int | None) -> AdaptivePolicy | None:
    if minimum is None and maximum is None:
        return None
    if minimum is not None and maximum is not None and minimum > maximum:
        raise click.UsageError(f"--min {minimum} is more than --max {maximum}: swap or mend them")
    return AdaptivePolicy(minimum=minimum, maximum=maximum)
