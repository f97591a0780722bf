"""Tokens that last: made, found by the hash of their secret, ended. A secret is shown once and kept nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from daskd.model.access import GRANTED, Right, Role
from daskd.model.errors import LimitExceeded, NotAllowed, TokenNotFound, Unauthenticated
from daskd.model.identity import Identity
from daskd.model.token import PREFIX, Token

from .authorize import Caller, Scope
from .peer import identity_of

MOST_PER_USER = 100
_ORDER = (Role.USER, Role.OPERATOR, Role.ADMIN)


class TokenStore(Protocol):
    """The part of the store that holds tokens."""

    async def put_token(self, token: Token, secret_hash: str) -> None:
        """Record a token; those that have expired are forgotten."""

    async def token(self, secret_hash: str) -> Token | None:
        """The token whose secret has that hash."""

    async def tokens(self, uid: int | None) -> list[Token]:
        """The tokens of one user, or (None) of all, oldest first."""

    async def forget_token(self, token_id: str) -> bool:
        """Forget a token; whether there was one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new token shall be good for; `lifetime` in seconds."""

    role: Role
    right: Right
    clusters: tuple[str, ...]
    lifetime: float
    description: str


class LastingTokens:
    """All such tokens.

    Parameters
    ----------
    clock
        Unix seconds now.
    """

    def __init__(self, store: TokenStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def create(self, caller: Caller, asked: Asked) -> tuple[Token, str]:
        """A new token of the caller's, and its secret.

        Raises
        ------
        NotAllowed
            When the caller shows such a token, or is less than the role that is asked for.
        LimitExceeded
            When the caller has very many.
        """
        _check_may_manage(caller)
        if _ORDER.index(asked.role) > _ORDER.index(caller.role):
            raise NotAllowed(
                f"you are {caller.role.value}: a token can't make {asked.role.value} of you",
                facts={"user": caller.name},
            )
        if (used := len(await self._store.tokens(caller.identity.uid))) >= MOST_PER_USER:
            raise LimitExceeded(
                f"you have {used} tokens, and {MOST_PER_USER} are allowed: revoke some (`daskctl token list`)",
                facts={"used": str(used), "allowed": str(MOST_PER_USER)},
            )
        now = self._clock()
        token = Token(
            id="t" + secrets.token_hex(5),
            user=caller.name,
            uid=caller.identity.uid,
            role=asked.role,
            right=asked.right,
            clusters=asked.clusters,
            created=now,
            expires=now + asked.lifetime,
            description=asked.description,
        )
        secret = f"{PREFIX}{token.id}_{secrets.token_urlsafe(32)}"
        await self._store.put_token(token, _hashed(secret))
        return token, secret

    async def listed(self, caller: Caller, all_users: bool) -> list[Token]:
        """The caller's tokens, or everybody's.

        Raises
        ------
        NotAllowed
            When the caller shows such a token; or asks for everybody's and is no administrator.
        """
        _check_may_manage(caller)
        if all_users and not caller.is_admin:
            raise NotAllowed("only administrators see everybody's tokens", facts={"user": caller.name})
        return await self._store.tokens(None if all_users else caller.identity.uid)

    async def revoke(self, caller: Caller, token_id: str) -> Token:
        """End a token at once; of the caller's own, or, for administrators, anybody's.

        Raises
        ------
        NotAllowed
            When the caller shows such a token.
        TokenNotFound
            When there is none of that id that the caller may end.
        """
        _check_may_manage(caller)
        own = await self._store.tokens(None if caller.is_admin else caller.identity.uid)
        token = next((each for each in own if each.id == token_id), None)
        if token is None or not await self._store.forget_token(token_id):
            raise TokenNotFound(
                f"you have no token {token_id[:80]!r}: `daskctl token list` shows those that you have",
                facts={"id": token_id[:80]},
            )
        return token

    async def authenticate(self, secret: str) -> tuple[Identity, Token]:
        """Whose token it is, and what it is good for.

        Raises
        ------
        Unauthenticated
            When it is unknown, expired, revoked, or its user is not that user any more.
        """
        token = await self._store.token(_hashed(secret))
        if token is None or token.expires <= self._clock():
            raise Unauthenticated(
                "the token is unknown, was revoked, or has expired: make another on the daemon's machine with "
                "`daskctl token create`"
            )
        # the name service may be slow, and the loop is not to wait for it
        identity = await asyncio.to_thread(identity_of, token.uid)
        if identity.name != token.user:
            raise Unauthenticated(
                f"the token {token.id} is of {token.user!r}, whose uid is another user's by now: it is good no more"
            )
        return identity, token


def caller_by_token(caller: Caller, token: Token) -> Caller:
    """The caller with no more than the token is good for."""
    role = min(caller.role, token.role, key=_ORDER.index)
    return replace(caller, role=role, scope=Scope(token.id, GRANTED[token.right], frozenset(token.clusters)))


def _check_may_manage(caller: Caller) -> None:
    # else a token that leaked could be made to last for ever
    if caller.scope is not None:
        raise NotAllowed(
            "tokens are managed by their users, not by tokens: call on the daemon's machine, over its unix socket",
            facts={"token": caller.scope.token},
        )


def _hashed(secret: str) -> str:
    # of 256 random bits: there is nothing to be guessed that a slow hash would protect
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
