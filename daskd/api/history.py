"""The history of calls: from where a change was asked for, and which calls were refused to whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog

from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotFound, DaskdError, LimitExceeded, NotAllowed, StateUnusable, Unauthenticated
from daskd.model.event import NewEvent
from daskd.security.authorize import Caller, meant
from daskd.security.refusals import RefusalBudget
from daskd.store import Store

CALL_REFUSED = "CALL_REFUSED"
_REFUSALS = (NotAllowed, Unauthenticated, LimitExceeded, ClusterNotFound)
_NOBODY = "(unknown)"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def origin(caller: Caller) -> dict[str, str]:
    """Where a call comes from, and by which token, as facts of an event."""
    facts = {"from": caller.peer}
    if caller.scope is not None:
        facts["token"] = caller.scope.token
    return facts


def from_caller(events: Iterable[NewEvent], caller: Caller) -> list[NewEvent]:
    """The events with the facts of where their call comes from."""
    return [replace(event, facts=event.facts | origin(caller)) for event in events]


class Refusals:
    """Writes refused calls into the history: a cluster's, where the call was about one, else the daemon's own.

    What is merely mistaken (a misspelt option, a name that nobody has) is not told: refused is what the caller may not.
    """

    def __init__(self, store: Store, budget: RefusalBudget) -> None:
        self._store = store
        self._budget = budget

    async def tell(self, error: DaskdError, method: str, request: Any, caller: Caller | None, peer: str) -> None:
        """Record that a call was refused, unless this caller had too many recorded lately."""
        if not isinstance(error, _REFUSALS):
            return
        try:
            cluster = await self._about(request, caller)
            if cluster is None and isinstance(error, ClusterNotFound):
                return
            uid = caller.identity.uid if caller is not None else None
            if (untold := self._budget.spend(uid)) is None:
                return
            await self._record(_event(error, method, caller, peer, untold), cluster)
        except StateUnusable as trouble:
            # the caller is told of the refusal all the same, and the log has it
            log.warning("a refused call could not be recorded", trouble=trouble.words)

    async def _about(self, request: Any, caller: Caller | None) -> Cluster | None:
        name = getattr(request, "name", "")
        if caller is None or not isinstance(name, str) or not name:
            return None
        return await meant(self._store, caller, name)

    async def _record(self, event: NewEvent, cluster: Cluster | None) -> None:
        if cluster is None:
            await self._store.note(event)
        else:
            await self._store.update(cluster.uid, lambda now: now, events=[event])


def _event(error: DaskdError, method: str, caller: Caller | None, peer: str, untold: int) -> NewEvent:
    who = caller.name if caller is not None else _NOBODY
    facts = {"method": method, "reason": error.reason} | (origin(caller) if caller is not None else {"from": peer})
    words = f"{who} was refused {method} ({error.reason})"
    if untold:
        facts["untold"] = str(untold)
        words += f", and {untold} calls more since the last that is told"
    return NewEvent(CALL_REFUSED, words, who, facts)
