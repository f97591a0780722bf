"""Tokens that last: what a program, or a user of another machine, shows."""

from __future__ import annotations

from dataclasses import dataclass

from .access import Right, Role

PREFIX = "daskd_"
"""What the secret of such a token begins with."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its secret.

    Attributes
    ----------
    user, uid
        As whom it calls; both must still be that user's.
    role
        The most that it makes of that user.
    right
        The most that it may do with a cluster, by `GRANTED`.
    clusters
        The uids of those that it is for; empty: all, and new ones.
    created, expires
        Unix seconds.
    """

    id: str
    user: str
    uid: int
    role: Role
    right: Right
    clusters: tuple[str, ...]
    created: float
    expires: float
    description: str = ""
