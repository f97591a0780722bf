"""Who makes a call: by a token of the exchange, one that lasts, or a client's certificate."""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Callable, Mapping

from daskd.config import Access
from daskd.model.errors import Unauthenticated
from daskd.model.identity import Identity
from daskd.model.token import PREFIX

from .authorize import Caller, role_of
from .lasting_tokens import LastingTokens, caller_by_token
from .peer import identity_of
from .tokens import Tokens

UNIX_SOCKET = "unix socket"
_BEARER = "bearer "


class Callers:
    """Tells who calls.

    Parameters
    ----------
    access
        Who is more than a user, as the configuration has it now.
    daemon_uid
        The daemon's own uid.
    """

    def __init__(self, tokens: Tokens, lasting: LastingTokens, access: Callable[[], Access], daemon_uid: int) -> None:
        self._tokens = tokens
        self._lasting = lasting
        self._access = access
        self._daemon_uid = daemon_uid

    async def identify(self, authorization: str, peer: str, certified: Mapping[str, list[bytes]]) -> Caller:
        """Who calls.

        Parameters
        ----------
        authorization
            The call's header of that name; empty: there is none.
        peer
            Where from; `UNIX_SOCKET`, or an address.
        certified
            What TLS says of the peer; of a certificate only once it was checked.

        Raises
        ------
        Unauthenticated
            When nobody can say.
        """
        if not authorization:
            return self._caller(await self._by_certificate(peer, certified), peer)
        if not authorization.lower().startswith(_BEARER):
            raise _no_token(peer)
        secret = authorization[len(_BEARER) :].strip()
        if secret.startswith(PREFIX):
            identity, token = await self._lasting.authenticate(secret)
            return caller_by_token(self._caller(identity, peer), token)
        if peer != UNIX_SOCKET:
            raise Unauthenticated(
                "the token of a unix socket's exchange is good on that socket alone: make one that lasts with "
                "`daskctl token create`"
            )
        return self._caller(self._tokens.lookup(secret), peer)

    def _caller(self, identity: Identity, peer: str) -> Caller:
        return Caller(identity, peer, self._daemon_uid, role_of(identity, self._access(), self._daemon_uid))

    async def _by_certificate(self, peer: str, certified: Mapping[str, list[bytes]]) -> Identity:
        names = certified.get("x509_common_name", [])
        if peer == UNIX_SOCKET or len(names) != 1:
            raise _no_token(peer)
        name = names[0].decode("utf-8", "replace")
        try:
            return await asyncio.to_thread(lambda: identity_of(pwd.getpwnam(name).pw_uid))
        except KeyError:
            raise Unauthenticated(
                f"the certificate is of {name[:80]!r}, and this machine has no user of that name"
            ) from None


def _no_token(peer: str) -> Unauthenticated:
    if peer == UNIX_SOCKET:
        where = "ask for one on the socket that ends in .auth, beside the API's, and send it"
    else:
        where = "make one with `daskctl token create` on the daemon's machine, and give it by DASKD_TOKEN: it is sent"
    return Unauthenticated(f"the call bears no token: {where} as `authorization: Bearer TOKEN`")
