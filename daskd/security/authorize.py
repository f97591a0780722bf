"""May this caller see, reach, make this? One user's clusters are not even hinted at to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from daskd.config import Access
from daskd.model.access import GRANTED, Right, Role
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotFound, InvalidArgument, NotAllowed
from daskd.model.identity import Identity
from daskd.model.names import is_uid
from daskd.model.problems import near, shown

_LONGEST_NAME = 256
_DOING = {
    Right.VIEW: "see",
    Right.USE: "connect to",
    Right.MANAGE: "change",
    Right.SHARE: "share",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is good for.

    Attributes
    ----------
    token
        Its id, for the history.
    rights
        The most that it allows with any cluster.
    clusters
        The uids of those that it is for; empty: all, and new ones.
    """

    token: str
    rights: frozenset[Right]
    clusters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes
    ----------
    peer
        Where from, in words, for logs and the history.
    daemon_uid
        The daemon's own uid.
    role
        What the configuration makes of the user. Root, and the user whose daemon it is, are admins anyhow.
    scope
        What the token that was shown is good for; None: for all that the user may.
    """

    identity: Identity
    peer: str
    daemon_uid: int
    role: Role = Role.USER
    scope: Scope | None = None

    @property
    def name(self) -> str:
        """The user's name."""
        return self.identity.name

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator."""
        return self.role is Role.ADMIN

    @property
    def sees_all(self) -> bool:
        """Whether everybody's clusters are shown."""
        return self.role is not Role.USER

    def owns(self, cluster: Cluster) -> bool:
        """Whether it is the caller's own; by uid, since a name may be given to another user one day."""
        return cluster.owner_uid == self.identity.uid


def role_of(identity: Identity, access: Access, daemon_uid: int) -> Role:
    """What a user is to the daemon."""
    if identity.uid in (0, daemon_uid):
        return Role.ADMIN
    subjects = {identity.name, *(f"@{group}" for group in identity.groups)}
    if subjects.intersection(access.admins):
        return Role.ADMIN
    return Role.OPERATOR if subjects.intersection(access.operators) else Role.USER


class Lookup(Protocol):
    """The part of the store that finds a cluster."""

    async def get(self, uid: str) -> Cluster | None:
        """The one of that uid."""

    async def find(self, owner: str, name: str) -> Cluster | None:
        """That owner's live one of that name."""

    async def live(self) -> list[Cluster]:
        """All live ones."""


def rights_on(caller: Caller, cluster: Cluster) -> frozenset[Right]:
    """All that the caller may do with a cluster; nothing: it may not even know of it."""
    rights = _rights_of_user(caller, cluster)
    if caller.scope is None:
        return rights
    if caller.scope.clusters and cluster.uid not in caller.scope.clusters:
        return frozenset()
    return rights & caller.scope.rights


def _rights_of_user(caller: Caller, cluster: Cluster) -> frozenset[Right]:
    if caller.owns(cluster):
        return frozenset(Right)
    subjects = caller.identity.subjects
    rights = frozenset[Right]().union(*(GRANTED[g.right] for g in cluster.grants if g.subject in subjects))
    if caller.role is Role.OPERATOR:
        rights |= {Right.VIEW, Right.MANAGE}
    elif caller.role is Role.ADMIN:
        rights |= {Right.VIEW, Right.MANAGE, Right.SHARE}
        # who connects runs code as the owner: an administrator of clusters does not become root by that
        if cluster.owner_uid != 0 or caller.identity.uid == 0:
            rights |= {Right.USE}
        else:
            rights -= {Right.SHARE}
    return rights


def may_see(caller: Caller, cluster: Cluster) -> bool:
    """Whether the caller may know of it."""
    return Right.VIEW in rights_on(caller, cluster)


def check_right(caller: Caller, cluster: Cluster, right: Right) -> None:
    """See that the caller, who may see the cluster, may do this.

    Raises
    ------
    NotAllowed
        When not; the words say which right is missing, and who can give it.
    """
    if right in rights_on(caller, cluster):
        return
    by = "this token does not let you" if caller.scope and right in _rights_of_user(caller, cluster) else "you may not"
    raise NotAllowed(
        f"{by} {_DOING[right]} cluster {cluster.name!r} of {cluster.owner}: ask its owner for it (`daskctl share "
        f"{cluster.name} {caller.name} --right {right.value}`)",
        facts={"cluster": cluster.uid, "right": right.value, "user": caller.name},
    )


def check_may_create(caller: Caller) -> None:
    """Refuse those for whom the daemon can't run anything.

    Raises
    ------
    NotAllowed
        When the caller is not the user that the daemon runs as, and that user is not root; or is nobody that this
        machine knows.
    """
    if caller.scope is not None and (caller.scope.clusters or Right.MANAGE not in caller.scope.rights):
        raise NotAllowed("this token is not good for new clusters: use another", facts={"token": caller.scope.token})
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


async def resolve(store: Lookup, caller: Caller, name: str, right: Right = Right.VIEW) -> Cluster:
    """The cluster that a caller means, and may do this with.

    Parameters
    ----------
    name
        The name of one of the caller's own live clusters, "owner/name" (for one that is shared, or one's own), or a
        uid, which alone reaches an ended one.

    Raises
    ------
    InvalidArgument
        When the name is empty or absurdly long.
    ClusterNotFound
        When there is none that the caller may see; the words are the same whether or not somebody else has one.
    NotAllowed
        When the caller may see it, and not do this.
    """
    if not name or len(name) > _LONGEST_NAME:
        raise InvalidArgument("name a cluster: by its name, owner/name, or its uid", facts={"field": "name"})
    found = await _candidate(store, caller, name)
    if found is not None and may_see(caller, found):
        check_right(caller, found, right)
        return found
    raise await _not_found(store, caller, name)


async def meant(store: Lookup, caller: Caller, name: str) -> Cluster | None:
    """The cluster that a name would mean if the caller might see it; for the history alone."""
    return await _candidate(store, caller, name) if name and len(name) <= _LONGEST_NAME else None


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
