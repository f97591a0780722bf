"""How a browser comes to see a cluster's dashboard: by a code that is good once, which becomes a session.

Codes and sessions are kept hashed, in memory alone: a restart ends them all. A session is one caller's for one cluster,
and says who looks; whether that user may look is asked anew each time (`daskd.security.authorize`).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from daskd.config import Access
from daskd.model.errors import Unauthenticated
from daskd.model.token import Token

from .authorize import Caller, role_of
from .lasting_tokens import caller_by_token
from .peer import identity_of

CODE_S = 60.0
"""How long a code is good, in seconds."""
FRESH_S = 60.0
"""How long what a session knows of its user (groups, role, token) is taken for true, in seconds."""

_MOST_PER_USER = 200


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at which cluster's dashboard; times in unix seconds.

    Attributes
    ----------
    looked_up
        When the caller was last looked up.
    """

    caller: Caller
    cluster: str
    expires: float
    looked_up: float


class TokenLookup(Protocol):
    """The part of the store that knows which tokens are good."""

    async def tokens(self, uid: int | None) -> list[Token]:
        """Those of a user."""


class _Kept:
    """Visits by a secret of theirs, which is kept hashed. A user who has very many loses the oldest of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._visits: dict[bytes, Visit] = {}

    def add(self, visit: Visit) -> str:
        now = self._clock()
        self._visits = {key: each for key, each in self._visits.items() if each.expires > now}
        uid = visit.caller.identity.uid
        mine = [key for key, each in self._visits.items() if each.caller.identity.uid == uid]
        if len(mine) >= _MOST_PER_USER:
            del self._visits[mine[0]]
        secret = secrets.token_urlsafe(32)
        self._visits[_hashed(secret)] = visit
        return secret

    def get(self, secret: str) -> Visit | None:
        visit = self._visits.get(_hashed(secret))
        return visit if visit is not None and visit.expires > self._clock() else None

    def pop(self, secret: str) -> Visit | None:
        visit = self.get(secret)
        self._visits.pop(_hashed(secret), None)
        return visit

    def put(self, secret: str, visit: Visit) -> None:
        if self.get(secret) is not None:
            self._visits[_hashed(secret)] = visit


class DashboardLogins:
    """The codes and sessions that are good now.

    Parameters
    ----------
    store
        Which tokens are good.
    access
        Who is more than a user, as the configuration has it now.
    clock
        Unix seconds now.
    session
        How long a session is good, in seconds.
    """

    def __init__(
        self, store: TokenLookup, access: Callable[[], Access], clock: Callable[[], float], session: float
    ) -> None:
        self._store = store
        self._access = access
        self._clock = clock
        self.session_s = session
        self._codes = _Kept(clock)
        self._sessions = _Kept(clock)

    def code(self, caller: Caller, cluster: str) -> tuple[str, float]:
        """A code by which that caller comes to see the cluster's dashboard, and until when it is good."""
        now = self._clock()
        return self._codes.add(Visit(caller, cluster, now + CODE_S, now)), now + CODE_S

    def open(self, code: str, cluster: str) -> str:
        """A session's secret for a code, which is used up by that.

        Raises
        ------
        Unauthenticated
            When it was never given out, is used up or too old, or is another cluster's.
        """
        visit = self._codes.pop(code)
        if visit is None or visit.cluster != cluster:
            raise Unauthenticated("this link was used, or is more than a minute old")
        return self._sessions.add(replace(visit, expires=self._clock() + self.session_s))

    async def visit(self, secret: str) -> Visit | None:
        """Whose session it is, with role, groups and token as they were a minute ago at most; None: nobody's."""
        visit = self._sessions.get(secret)
        if visit is None or self._clock() - visit.looked_up < FRESH_S:
            return visit
        caller = await self._looked_up(visit.caller)
        if caller is None:
            self._sessions.pop(secret)
            return None
        fresh = replace(visit, caller=caller, looked_up=self._clock())
        self._sessions.put(secret, fresh)
        return fresh

    async def _looked_up(self, caller: Caller) -> Caller | None:
        """The same caller as of now; None when the uid is another user's, or the token is good no more."""
        # the name service may be slow, and the loop is not to wait for it
        identity = await asyncio.to_thread(identity_of, caller.identity.uid)
        if identity.name != caller.name:
            return None
        role = role_of(identity, self._access(), caller.daemon_uid)
        fresh = Caller(identity, caller.peer, caller.daemon_uid, role)
        if caller.scope is None:
            return fresh
        tokens = await self._store.tokens(identity.uid)
        token = next((each for each in tokens if each.id == caller.scope.token), None)
        if token is None or token.expires <= self._clock():
            return None
        return caller_by_token(fresh, token)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a browser sees a dashboard; `expires` is unix seconds, None: it needs no login."""

    url: str
    expires: float | None = None


class DashboardLinks:
    """Links to the dashboards that the daemon serves.

    Parameters
    ----------
    base
        What they begin with; "{cluster}" in it stands for a cluster's uid.
    """

    def __init__(self, base: str, logins: DashboardLogins) -> None:
        self._base = base
        self._logins = logins

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self._base.startswith("https:")

    def origin(self, cluster: str) -> str:
        """Scheme, host and port under which a cluster's dashboard lies."""
        return self._base.replace("{cluster}", cluster)

    def plain(self, cluster: str) -> str:
        """Where a cluster's dashboard is, for who is logged in."""
        return f"{self.origin(cluster)}/clusters/{cluster}/status"

    def create(self, caller: Caller, cluster: str) -> Link:
        """A link by which whoever opens it first is logged in as that caller, for that cluster's dashboard."""
        code, expires = self._logins.code(caller, cluster)
        return Link(f"{self.origin(cluster)}/clusters/{cluster}/{LOGIN_PAGE}?code={code}", expires)


LOGIN_PAGE = "daskd-login"
"""The page of every cluster that takes codes; the one that does not come from the cluster."""


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
