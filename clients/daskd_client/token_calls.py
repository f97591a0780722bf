"""The calls of the daemon's API that are about tokens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from daskd_api.v1 import token_pb2

from .calls import Caller
from .fields import right_number
from .translate import from_message
from .types import CreatedToken, Right, Token


class TokenCalls:
    """The part of `AsyncDaskd` that makes, lists and ends tokens."""

    _caller: Caller
    _tokens: Any

    async def create_token(
        self,
        description: str = "",
        *,
        role: str = "user",
        right: Right | str = Right.MANAGE,
        clusters: Iterable[str] = (),
        lifetime: timedelta | None = None,
    ) -> CreatedToken:
        """Make a token that lasts, for a program or for use from another machine. It calls as you.

        Its secret is in the answer, and is shown this once.

        Parameters
        ----------
        description
            What it is for, in your words.
        role
            The most that it makes of you: "user", "operator", "admin".
        right
            The most that it may do with a cluster: "view", "use", "manage".
        clusters
            Names or uids of those that it is for. None: all of yours, and new ones.
        lifetime
            A year at most. By default 30 days.
        """
        request = token_pb2.CreateTokenRequest(
            description=description, role=role, right=right_number(right), clusters=clusters
        )
        if lifetime is not None:
            request.lifetime.FromTimedelta(lifetime)
        answer = await self._caller.call(self._tokens.CreateToken, request, retry=False)
        return from_message(answer, CreatedToken)

    async def list_tokens(self, *, all_users: bool = False) -> list[Token]:
        """Your tokens, oldest first, without their secrets.

        Parameters
        ----------
        all_users
            Everybody's, for administrators.
        """
        answer = await self._caller.call(self._tokens.ListTokens, token_pb2.ListTokensRequest(all_users=all_users))
        return [from_message(token, Token) for token in answer.tokens]

    async def revoke_token(self, token_id: str) -> Token:
        """End a token at once.

        Parameters
        ----------
        token_id
            `Token.id`, which is no secret.

        Raises
        ------
        TokenNotFound
            There is none of that id that you may end.
        """
        answer = await self._caller.call(self._tokens.RevokeToken, token_pb2.RevokeTokenRequest(id=token_id))
        return from_message(answer.token, Token)
