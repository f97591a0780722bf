"""Page tokens: where a listing goes on. Sealed, so that none can be made up or used with another query."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from daskd.model.errors import InvalidArgument

from .interface import ClusterQuery

_POSITION = 8
_SEAL = 16  # with the position 24 bytes, hence 32 characters of base64 without padding


def _seal(key: bytes, position: bytes, query: ClusterQuery) -> bytes:
    about = [query.owner, sorted(phase.value for phase in query.phases), query.name_prefix, query.include_ended]
    if query.shared_with:
        about.append(sorted(query.shared_with))
    return hmac.digest(key, position + json.dumps(about).encode(), hashlib.sha256)[:_SEAL]


def page_token(key: bytes, position: int, query: ClusterQuery) -> str:
    """The token of the page that follows `position` in the answer to `query`; the limit may differ from page to page.

    Parameters
    ----------
    key
        The store's secret.
    position
        Not negative.
    """
    place = position.to_bytes(_POSITION, "big")
    return base64.urlsafe_b64encode(place + _seal(key, place, query)).decode()


def page_position(key: bytes, query: ClusterQuery) -> int | None:
    """The position at which `query.after` says to go on; None for the first page.

    Raises
    ------
    InvalidArgument
        When the token was not made for this query by this store.
    """
    if not query.after:
        return None
    try:
        token = base64.b64decode(query.after.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):  # ValueError: a lone surrogate
        token = b""
    place, seal = token[:_POSITION], token[_POSITION:]
    if not hmac.compare_digest(seal, _seal(key, place, query)):
        raise InvalidArgument(
            "the page token does not belong to this listing: pass it as it was answered, with the same owner, phases "
            "and name prefix, or begin again without one"
        )
    return int.from_bytes(place, "big")
