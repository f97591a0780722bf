"""Who may do what: roles of users, rights on a cluster, grants that share one."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_SUBJECT = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?", re.ASCII)


class Role(str, enum.Enum):
    """What a user is to the daemon.

    A `USER` has clusters of one's own; an `OPERATOR` sees everybody's, scales and ends them; an `ADMIN` may do all that
    owners may.
    """

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


class Right(str, enum.Enum):
    """What may be done with a cluster.

    `VIEW`: see it, its workers, its history, its logs. `USE`: connect to it, which is to run code as its owner.
    `MANAGE`: scale, adapt, end it. `SHARE`: say who else may.
    """

    VIEW = "view"
    USE = "use"
    MANAGE = "manage"
    SHARE = "share"


GRANTED = {
    Right.VIEW: frozenset({Right.VIEW}),
    Right.USE: frozenset({Right.VIEW, Right.USE}),
    Right.MANAGE: frozenset({Right.VIEW, Right.USE, Right.MANAGE}),
}
"""What a grant of a right allows. To share on can't be granted."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One user or group that a cluster is shared with.

    Attributes
    ----------
    who
        A user's name, or "@" and a group's.
    right
        What it allows, by `GRANTED`.
    uid
        The user's: a name may be given to somebody else one day. None for a group.
    """

    who: str
    right: Right
    uid: int | None = None

    @property
    def subject(self) -> str:
        """Whom it is for, as `subjects_of` has it."""
        return self.who if self.uid is None else f"uid:{self.uid}"


def check_subject(who: str) -> str:
    """The same, when it is the name of a user or "@" and that of a group.

    Raises
    ------
    ValueError
        When it is neither.
    """
    if not _SUBJECT.fullmatch(who):
        raise ValueError(f"{who[:80]!r} names nobody: write a user's name, or @ and a group's, such as @staff")
    return who
