"""Opaque marks that clients hand back: where a watch or a listing goes on. Made of a revision; told from garbage."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from daskd.model.errors import InvalidArgument, ResumeTokenExpired

_FORM = re.compile(r"(?P<kind>[a-z]+)1:(?P<state>[a-z2-7]+):(?P<uid>[a-z2-7]*):(?P<revision>\d{1,18})", re.ASCII)
_SUM_BYTES = 6
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the history of one state.

    Attributes
    ----------
    kind
        What it goes on with: "watch", "events".
    uid
        The cluster that it is narrowed to; empty: none.
    revision
        The last one that was told.
    """

    kind: str
    uid: str
    revision: int


def write_mark(mark: Mark, state_id: str) -> str:
    """The mark as text."""
    body = f"{mark.kind}1:{state_id}:{mark.uid}:{mark.revision}".encode("ascii")
    return base64.urlsafe_b64encode(_sum(body) + body).decode("ascii").rstrip("=")


def read_mark(text: str, kind: str, state_id: str, field: str) -> Mark:
    """The mark that a text stands for.

    Parameters
    ----------
    field
        The request's field that holds it, for the error.

    Raises
    ------
    InvalidArgument
        When it is no mark of that kind.
    ResumeTokenExpired
        When it is of a state that is no more.
    """
    match = _FORM.fullmatch(_body(text))
    if match is None or match["kind"] != kind:
        raise InvalidArgument(f"{field} is none that this daemon gave out: leave it empty", facts={"field": field})
    if match["state"] != state_id:
        raise ResumeTokenExpired(f"{field} is of another state of the daemon: begin anew without it")
    return Mark(kind, match["uid"], int(match["revision"]))


def _body(text: str) -> str:
    try:
        data = base64.b64decode(text[:_LONGEST] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = data[_SUM_BYTES:]
        return body.decode("ascii") if data[:_SUM_BYTES] == _sum(body) and len(text) <= _LONGEST else ""
    except (binascii.Error, ValueError):
        return ""


def _sum(body: bytes) -> bytes:
    # Not a secret: what a mark lets through is authorised again, cluster by cluster.
    return hashlib.blake2b(body, digest_size=_SUM_BYTES, person=b"daskd-mark").digest()
