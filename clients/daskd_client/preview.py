"""What would be submitted for a cluster, as the daemon says it."""

from __future__ import annotations

from dataclasses import dataclass

from .types import Cluster


@dataclass(frozen=True)
class GroupPreview:
    """What the driver of a group submits; ``<payload>`` stands for what is secret.

    Attributes
    ----------
    instances, workers
        How many there are at first.
    command
        The command that submits. Empty: the driver submits nothing that could be shown.
    submissions
        How often it is run.
    script
        What it submits.
    """

    name: str = ""
    driver: str = ""
    instances: int = 0
    workers: int = 0
    command: str = ""
    submissions: int = 0
    script: str = ""


@dataclass(frozen=True)
class Preview:
    """What would be made.

    Attributes
    ----------
    cluster
        As it would be recorded.
    previews
        What would be submitted, one a group.
    """

    cluster: Cluster | None = None
    previews: tuple[GroupPreview, ...] = ()
