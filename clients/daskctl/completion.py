"""What a shell is told when a name is completed."""

from __future__ import annotations

import asyncio

from daskd_client import DaskdError

from .session import Session

PATIENCE_S = 2.0
"""The longest that a press of the tab key is worth waiting for."""


def cluster_names(session: Session, beginning: str) -> list[str]:
    """Names of live clusters that begin so; none when the daemon says no or is slow: a prompt shows no errors."""
    try:
        return asyncio.run(asyncio.wait_for(_names(session, beginning), PATIENCE_S))
    except (DaskdError, asyncio.TimeoutError):
        return []


async def _names(session: Session, beginning: str) -> list[str]:
    async with session.connect() as daskd:
        return [cluster.name for cluster in await daskd.list_clusters(name_prefix=beginning)]
