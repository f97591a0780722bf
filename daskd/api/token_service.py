"""TokenService: translate, authorise, delegate."""

from __future__ import annotations

import grpc
import structlog

from daskd.model.access import GRANTED, Right, Role
from daskd.model.errors import InvalidArgument, Problem
from daskd.model.event import NewEvent
from daskd.model.token import Token
from daskd.security.authorize import resolve
from daskd.security.lasting_tokens import Asked
from daskd_api.v1 import cluster_pb2, token_pb2_grpc
from daskd_api.v1 import token_pb2 as pb

from .edge import current_caller
from .history import from_caller
from .services import Services
from .translate import seconds, timestamp

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DAY = 86_400.0
_LIFETIME = 30 * _DAY
_LONGEST_LIFETIME = 366 * _DAY
_LONGEST_DESCRIPTION = 200
_MOST_CLUSTERS = 100


class TokenServicer(token_pb2_grpc.TokenServiceServicer):
    """Makes, lists, ends tokens that last."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def CreateToken(
        self, request: pb.CreateTokenRequest, context: grpc.aio.ServicerContext
    ) -> pb.CreateTokenResponse:
        """Makes a token."""
        caller = current_caller()
        asked = await self._read(request)
        token, secret = await self._services.lasting_tokens.create(caller, asked)
        await self._tell("TOKEN_CREATED", f"{caller.name} made the token {token.id}", token)
        return pb.CreateTokenResponse(token=_message(token), secret=secret)

    async def ListTokens(
        self, request: pb.ListTokensRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListTokensResponse:
        """Tokens, oldest first."""
        tokens = await self._services.lasting_tokens.listed(current_caller(), request.all_users)
        return pb.ListTokensResponse(tokens=[_message(token) for token in tokens])

    async def RevokeToken(
        self, request: pb.RevokeTokenRequest, context: grpc.aio.ServicerContext
    ) -> pb.RevokeTokenResponse:
        """Ends a token."""
        caller = current_caller()
        token = await self._services.lasting_tokens.revoke(caller, request.id)
        await self._tell("TOKEN_REVOKED", f"{caller.name} revoked the token {token.id} of {token.user}", token)
        return pb.RevokeTokenResponse(token=_message(token))

    async def _tell(self, kind: str, words: str, token: Token) -> None:
        caller = current_caller()
        facts = {"id": token.id, "user": token.user, "role": token.role.value, "right": token.right.value}
        await self._services.store.note(from_caller([NewEvent(kind, words, caller.name, facts)], caller)[0])
        log.info(words, token=token.id)

    async def _read(self, request: pb.CreateTokenRequest) -> Asked:
        roles = {role.value: role for role in Role}
        if request.role and request.role not in roles:
            raise _argument("role", f"{request.role[:80]!r} is no role: name one of {', '.join(roles)}")
        if len(request.description) > _LONGEST_DESCRIPTION or not request.description.isprintable():
            raise _argument("description", f"write at most {_LONGEST_DESCRIPTION} printable characters")
        lifetime = seconds(request.lifetime) if request.HasField("lifetime") else _LIFETIME
        if not 0 < lifetime <= _LONGEST_LIFETIME:
            raise _argument("lifetime", f"{lifetime:g} s is out of range: more than 0 s, and at most a year")
        if len(request.clusters) > _MOST_CLUSTERS:
            raise _argument("clusters", f"name at most {_MOST_CLUSTERS}")
        found = [await resolve(self._services.store, current_caller(), name) for name in request.clusters]
        return Asked(
            role=roles[request.role or Role.USER.value],
            right=_right(request.right),
            clusters=tuple(dict.fromkeys(cluster.uid for cluster in found)),
            lifetime=lifetime,
            description=request.description,
        )


def _right(number: int) -> Right:
    known = {int(cluster_pb2.Right.Value(f"RIGHT_{right.name}")): right for right in GRANTED}
    if number and number not in known:
        raise _argument("right", f"{number} is no right: name one of {', '.join(right.value for right in GRANTED)}")
    return known.get(number, Right.MANAGE)


def _message(token: Token) -> pb.Token:
    return pb.Token(
        id=token.id,
        description=token.description,
        user=token.user,
        role=token.role.value,
        right=cluster_pb2.Right.Value(f"RIGHT_{token.right.name}"),
        clusters=token.clusters,
        create_time=timestamp(token.created),
        expire_time=timestamp(token.expires),
    )


def _argument(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(words, facts={"field": field}, problems=[Problem(field, words)])
