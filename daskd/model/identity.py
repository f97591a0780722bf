"""Who calls, who owns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of this machine.

    Attributes
    ----------
    name
        The user's name, or `uid:N` where the machine has none for that uid.
    uid, gid
        As the kernel knows them.
    home
        The home directory.
    shell
        The login shell.
    groups
        Names of the groups that the user is in.
    """

    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/bin/sh"
    groups: tuple[str, ...] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """What a grant may call this user: by uid, and by each group."""
        return (f"uid:{self.uid}", *(f"@{group}" for group in self.groups))

    @property
    def is_known(self) -> bool:
        """Whether this machine has a user of that uid."""
        return self.name != f"uid:{self.uid}"
