"""May who has this session see that cluster's dashboard? Asked for every request, and now and then for what lasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from daskd.model.access import Right
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotFound, NotAllowed, Unauthenticated
from daskd.security.authorize import Caller, rights_on
from daskd.security.dashboard_logins import DashboardLogins


class Lookup(Protocol):
    """The part of the store that has clusters."""

    async def get(self, uid: str) -> Cluster | None:
        """The one of that uid."""


class Gate:
    """Lets in who has a session for a cluster, and may still see it."""

    def __init__(self, store: Lookup, logins: DashboardLogins) -> None:
        self._store = store
        self._logins = logins

    async def enter(self, uid: str, secrets: Iterable[str]) -> tuple[Caller, Cluster]:
        """Who looks at which cluster, by the first of some secrets that is a session's.

        Raises
        ------
        Unauthenticated
            When none is.
        ClusterNotFound
            When it is another cluster's, or the cluster is forgotten.
        NotAllowed
            When that user may not see the cluster any more.
        """
        others = False
        for secret in secrets:
            visit = await self._logins.visit(secret)
            if visit is not None and visit.cluster == uid:
                return visit.caller, await self._cluster(uid, visit.caller)
            others |= visit is not None
        if others:
            raise ClusterNotFound("your session is for another cluster: run daskctl dashboard NAME for this one")
        raise Unauthenticated(
            "Run daskctl dashboard NAME, with your cluster's name, and open the link that it prints within a minute. "
            "Logins end after some hours, and when the daemon is started again."
        )

    async def _cluster(self, uid: str, caller: Caller) -> Cluster:
        cluster = await self._store.get(uid)
        if cluster is None:
            raise ClusterNotFound("this cluster ended long ago, and is forgotten")
        if Right.VIEW not in rights_on(caller, cluster):
            raise NotAllowed(f"{caller.name} may not see this cluster any more: ask its owner to share it again")
        return cluster
