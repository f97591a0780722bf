"""Whom a cluster is shared with: read from a request, and checked against the machine's users and groups."""

from __future__ import annotations

import asyncio
import grp
import pwd

from daskd.model.access import GRANTED, Grant, Right, check_subject
from daskd.model.errors import InvalidArgument, Problem
from daskd_api.v1 import cluster_pb2 as pb


async def read_grant(who: str, right: pb.Right.ValueType) -> Grant:
    """The grant that a request asks for.

    Raises
    ------
    InvalidArgument
        When there is no such user, group or right.
    """
    return Grant(read_subject(who), _right(right), await asyncio.to_thread(_uid_of, who))


def read_subject(who: str) -> str:
    """A user's name, or "@" and a group's.

    Raises
    ------
    InvalidArgument
        When it is neither.
    """
    try:
        return check_subject(who)
    except ValueError as error:
        raise _argument("who", str(error)) from None


def _right(number: pb.Right.ValueType) -> Right:
    known = {pb.Right.Value(f"RIGHT_{right.name}"): right for right in GRANTED}
    if number not in known:
        raise _argument("right", f"{number} is no right: name one of {', '.join(right.value for right in GRANTED)}")
    return known[number]


def _uid_of(who: str) -> int | None:
    """A user's uid; None for a group. Asks the name service, which may block."""
    try:
        if who.startswith("@"):
            grp.getgrnam(who[1:])
            return None
        return pwd.getpwnam(who).pw_uid
    except KeyError:
        kind = "group" if who.startswith("@") else "user"
        raise _argument("who", f"this machine has no {kind} {who.removeprefix('@')!r}: check the name") from None


def _argument(field: str, words: str) -> InvalidArgument:
    return InvalidArgument(words, facts={"field": field}, problems=[Problem(field, words)])
