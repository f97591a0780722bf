"""Pure: what a driver tells a scheduler that it places, wherever that runs (`spec.json` of `docs/runtime.md`)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

import daskd
from daskd.model.cluster import Role

from .protocol import Batch

CLAIM_S = 600.0
"""A scheduler that no daemon has claimed so long after its start ends itself."""

_RANGE = re.compile(r"(\d{1,5})\s*[-:]\s*(\d{1,5})", re.ASCII)


def ports_of(text: str) -> tuple[int, int]:
    """The first and the last of a range of ports.

    Raises
    ------
    ValueError
        When it is none, or too small, or others' services have such ports.
    """
    match = _RANGE.fullmatch(text.strip())
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= first < last < 1 << 16:
        raise ValueError(f'{text!r:.100} is no range of ports: write two from 1024 to 65535, such as "40000-40100"')
    return first, last


def _checked(text: str) -> str:
    ports_of(text)
    return text


PortRange = Annotated[str, AfterValidator(_checked)]


def port_range() -> Any:
    """The option by which firewalls are minded."""
    return Field(
        default=None,
        description='The ports of a scheduler that is placed here: "40000-40100"; by default any. It takes two.',
    )


def scheduler_spec(batch: Batch, ports: str | None) -> dict[str, Any]:
    """What the scheduler of a batch is told that all drivers tell alike.

    To be added: `instance`, `tls`, `host` (where it listens) and `contact_host` (where others reach it).

    Parameters
    ----------
    ports
        The range that it may take; None: any.
    """
    settings, scheduler = batch.runtime, batch.spec.scheduler
    first, last = ports_of(ports) if ports else (0, 0)
    return {
        "version": 1,
        "role": Role.SCHEDULER.value,
        "cluster": batch.cluster,
        "cluster_name": batch.cluster_name,
        "runtime_version": daskd.__version__,
        "link_fd": None,
        "sockets_fd": None,
        # whoever is on that machine could read pages on TCP: the daemon serves them, by way of the link, or nobody does
        "dashboard": None,
        "dashboard_prefix": batch.dashboard_prefix or None,
        "placed": {"first_port": first, "last_port": last, "claim_timeout": CLAIM_S},
        "port": 0,
        "held": {"seconds": settings.held_seconds, "memory_share": settings.held_memory_share},
        "orphan_timeout": settings.orphan_timeout,
        "preload": list(scheduler.preload),
        "options": scheduler.options,
    }
