"""May this caller see, reach, make this? One user's clusters are not even hinted at to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotFound, InvalidArgument, NotAllowed
from daskd.model.identity import Identity
from daskd.model.names import is_uid
from daskd.model.problems import near, shown

_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes
    ----------
    peer
        Where from, in words, for logs.
    daemon_uid
        The daemon's own uid.
    """

    identity: Identity
    peer: str
    daemon_uid: int

    @property
    def name(self) -> str:
        """The user's name."""
        return self.identity.name

    @property
    def is_admin(self) -> bool:
        """Root, and the user whose daemon it is, may do everything."""
        return self.identity.uid in (0, self.daemon_uid)

    def owns(self, cluster: Cluster) -> bool:
        """Whether it is the caller's own; by uid, since a name may be given to another user one day."""
        return cluster.owner_uid == self.identity.uid


class Lookup(Protocol):
    """The part of the store that finds a cluster."""

    async def get(self, uid: str) -> Cluster | None:
        """The one of that uid."""

    async def find(self, owner: str, name: str) -> Cluster | None:
        """That owner's live one of that name."""

    async def live(self) -> list[Cluster]:
        """All live ones."""


def may_see(caller: Caller, cluster: Cluster) -> bool:
    """Whether the caller may know of it; who may, may also change it."""
    return caller.is_admin or caller.owns(cluster)


def check_may_create(caller: Caller) -> None:
    """Refuse those for whom the daemon can't run anything.

    Raises
    ------
    NotAllowed
        When the caller is not the user that the daemon runs as, and that user is not root; or is nobody that this
        machine knows.
    """
    if caller.identity.uid == caller.daemon_uid:
        return
    if caller.daemon_uid != 0:
        raise NotAllowed(
            f"this daemon runs as uid {caller.daemon_uid} and can run things as no other user: {caller.name} "
            "can't create clusters here. Start a daemon of your own with `daskd serve`",
            facts={"user": caller.name},
        )
    if not caller.identity.is_known:
        raise NotAllowed(
            f"this machine has no user of uid {caller.identity.uid}: nothing can be run as one. Add the user, or call "
            "as another",
            facts={"user": caller.name},
        )


async def resolve(store: Lookup, caller: Caller, name: str) -> Cluster:
    """The cluster that a caller means.

    Parameters
    ----------
    name
        The name of one of the caller's own live clusters, "owner/name" (administrators; anybody with their own name),
        or a uid, which alone reaches an ended one.

    Raises
    ------
    InvalidArgument
        When the name is empty or absurdly long.
    ClusterNotFound
        When there is none that the caller may see; the words are the same whether or not somebody else has one.
    """
    if not name or len(name) > _LONGEST_NAME:
        raise InvalidArgument("name a cluster: by its name, owner/name, or its uid", facts={"field": "name"})
    found = await _candidate(store, caller, name)
    if found is not None and may_see(caller, found):
        return found
    raise await _not_found(store, caller, name)


async def _candidate(store: Lookup, caller: Caller, name: str) -> Cluster | None:
    owner, slash, bare = name.rpartition("/")
    if slash:
        return await store.find(owner, bare)
    found = await store.find(caller.name, name)
    if found is None and is_uid(name):
        return await store.get(name)
    return found


async def _not_found(store: Lookup, caller: Caller, name: str) -> ClusterNotFound:
    own = {cluster.name: cluster.name for cluster in await store.live() if caller.owns(cluster)}
    words = f"you have no cluster {shown(name)}"
    if like := near(name.rpartition("/")[2], own):
        words += f": did you mean {like!r}?"
    elif own:
        words += ": `daskctl list` shows those that you have"
    return ClusterNotFound(words, facts={"name": name})
