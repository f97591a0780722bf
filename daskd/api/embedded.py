"""Whether a cluster's scheduler may run in the daemon itself. Pure, but for a look at this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from daskd.config import Config
from daskd.model.errors import Problem
from daskd.model.spec import ClusterSpec, Placement

from .create import invalid

_NOT_ALLOWED = (
    "'embedded' runs the scheduler, and with it users' code, in the daemon itself: code that hangs, crashes or reads "
    "what it should not does so to the daemon and all its clusters. Leave it out; or, where the daemon serves nobody "
    "but you, set `clusters.embedded` in daskd.toml"
)
_NOT_OWN = "'embedded' runs the scheduler in the daemon itself, as the daemon's own user, who is not you: leave it out"


@dataclass(frozen=True, slots=True)
class Process:
    """A process, as far as a scheduler in it would be like it."""

    python: str = sys.executable
    cwd: str = field(default_factory=os.getcwd)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def check_embedded(spec: ClusterSpec, config: Config, *, is_own: bool) -> None:
    """See that a scheduler which is to run in the daemon may, and can be what the spec wants.

    Parameters
    ----------
    is_own
        It is the daemon's own user who asks.

    Raises
    ------
    InvalidSpec
        With all that speaks against it.
    """
    if spec.scheduler.placement is not Placement.EMBEDDED:
        return
    if problems := embedded_problems(spec, Process(), allowed=config.clusters.embedded, is_own=is_own):
        raise invalid(problems)


def embedded_problems(spec: ClusterSpec, daemon: Process, *, allowed: bool, is_own: bool) -> list[Problem]:
    """What speaks against it: it is not allowed, or the spec wants a process that is not like the daemon's."""
    if not (allowed and is_own):
        return [Problem("scheduler.placement", _NOT_OWN if allowed else _NOT_ALLOWED)]
    words = "the scheduler runs in the daemon, which has {}: leave it out, or set it of each group"
    problems = []
    if spec.python and os.path.abspath(spec.python) != os.path.abspath(daemon.python):
        problems.append(Problem("python", words.format(f"the Python {daemon.python}")))
    if spec.cwd and os.path.realpath(spec.cwd) != os.path.realpath(daemon.cwd):
        problems.append(Problem("cwd", words.format(f"the working directory {daemon.cwd}")))
    foreign = [name for name, value in spec.environment.items() if daemon.environment.get(name) != value]
    if foreign:
        problems.append(Problem("environment", words.format(f"another environment than this {', '.join(foreign)}")))
    if spec.scheduler.prologue:
        problems.append(Problem("scheduler.prologue", "the scheduler runs in the daemon, with no shell before it"))
    return problems
