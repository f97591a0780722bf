"""The last lines of a log, for telling why something ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import structlog

from daskd.drivers.protocol import Site
from daskd.model.cluster import Instance

LINES = 15
MOST_CHARACTERS = 3000

log = structlog.get_logger(__name__)


async def tails_of(site_of: Callable[[str], Site], instances: Iterable[Instance]) -> dict[str, str]:
    """The last lines of each instance's log, by id; those whose log can't be read are left out.

    Parameters
    ----------
    site_of
        The site of a driver, by its name.
    """
    tails = {}
    for instance in instances:
        try:
            tails[instance.id] = await tail_of(site_of(instance.handle.driver), instance)
        except Exception as error:  # a driver's error here must not hide the end that it should explain
            log.warning("a log could not be read", instance=instance.id, error=str(error))
    return tails


async def tail_of(site: Site, instance: Instance) -> str:
    """The last lines of one instance's log."""
    last: deque[str] = deque(maxlen=LINES)
    async for chunk in site.logs(instance.handle, "", None):
        last.extend(text for _, text in chunk.lines)
    return "\n".join(last)[-MOST_CHARACTERS:]
