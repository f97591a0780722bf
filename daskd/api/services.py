"""What servicers are made of."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daskd.config import Config
from daskd.control.quota import check_quotas, is_limited
from daskd.model.cluster import Cluster
from daskd.security.dashboard_logins import DashboardLinks
from daskd.security.lasting_tokens import LastingTokens
from daskd.security.tokens import Tokens
from daskd.store import Store

from .control_port import Control

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class About:
    """What the daemon says of itself; `started` in unix seconds."""

    version: str
    minimum_client_version: str
    started: float
    pid: int
    hostname: str
    schema_version: int


@dataclass(slots=True)
class Services:
    """All that servicers delegate to.

    Attributes
    ----------
    config
        As it is now: a reload puts another in its place.
    daemon_uid
        The daemon's own uid.
    clock
        Unix seconds now.
    dashboards
        Links to the dashboards that the daemon serves; None: it serves none.
    stopping
        Set when the daemon stops: long streams end then.
    creating
        Held while a cluster is counted against the limits and recorded, or grows, so that two calls can't both be
        the last.
    """

    store: Store
    control: Control
    tokens: Tokens
    lasting_tokens: LastingTokens
    config: Config
    about: About
    daemon_uid: int
    clock: Callable[[], float]
    dashboards: DashboardLinks | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    creating: asyncio.Lock = field(default_factory=asyncio.Lock)
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    async def check_quotas(self, before: Cluster | None, after: Cluster) -> None:
        """See that a cluster may be made (`before` is None) or grow, by what its owner's others take.

        Raises
        ------
        LimitExceeded
            Naming what is used, what is asked for, and what is allowed.
        """
        if not is_limited(self.config, after.spec.profile):
            return
        live = await self.store.live()
        others = [each for each in live if each.owner_uid == after.owner_uid and each.uid != after.uid]
        check_quotas(self.config, others, before, after)

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what must not be left by half when the caller goes away: recorded, but not woken.

        In a context of its own: a reconciler that starts in here is not to log as if it were this call, for ever.
        """
        task = contextvars.Context().run(asyncio.ensure_future, work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def settled(self) -> None:
        """Wait until all such work is done."""
        while self._under_way:
            await asyncio.wait(self._under_way)
