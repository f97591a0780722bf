"""Who may see what, and which cluster a name means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from daskd.config import Access
from daskd.model.access import Grant, Right, Role
from daskd.model.cluster import Cluster
from daskd.model.errors import ClusterNotFound, NotAllowed
from daskd.model.identity import Identity
from daskd.model.spec import ClusterSpec
from daskd.security.authorize import Caller, Scope, check_may_create, may_see, resolve, rights_on, role_of

UID = "c" + "a" * 19


def caller(name: str, uid: int, daemon_uid: int = 0) -> Caller:
    identity = Identity(name, uid, uid, "/")
    return Caller(identity, "unix socket", daemon_uid, role_of(identity, Access(), daemon_uid))


def cluster(name: str, owner: str, uid: int, id_: str) -> Cluster:
    return Cluster(id_, name, owner, uid, ClusterSpec(), created=0, updated=0)


@dataclass
class Some:
    """A lookup over a list."""

    clusters: list[Cluster]

    async def get(self, uid: str) -> Cluster | None:
        return next((each for each in self.clusters if each.uid == uid), None)

    async def find(self, owner: str, name: str) -> Cluster | None:
        return next((each for each in await self.live() if (each.owner, each.name) == (owner, name)), None)

    async def live(self) -> list[Cluster]:
        return [each for each in self.clusters if each.ended is None]


ANNS, BOBS = cluster("etl", "ann", 1, UID), cluster("etl", "bob", 2, "c" + "b" * 19)
BOTH = Some([ANNS, BOBS])


@pytest.mark.parametrize(
    ("who", "name", "expected"),
    [
        (caller("ann", 1), "etl", ANNS),
        (caller("ann", 1), "ann/etl", ANNS),
        (caller("ann", 1), UID, ANNS),
        (caller("bob", 2), "etl", BOBS),
        (caller("root", 0), "bob/etl", BOBS),
        (caller("root", 0), UID, ANNS),
        (caller("ann", 1), "bob/etl", None),
        (caller("ann", 1), BOBS.uid, None),
        (caller("root", 0), "etl", None),
        (caller("ann", 7), "etl", None),
        (caller("ann", 1), "ann/etl/etl", None),
        (caller("ann", 1), "/etl", None),
    ],
)
async def test_a_name_means_what_the_caller_may_see(who, name, expected):
    """One's own by name; others' for administrators alone; a user's name that another uid has got opens nothing."""
    if expected is not None:
        assert await resolve(BOTH, who, name) == expected
    else:
        with pytest.raises(ClusterNotFound):
            await resolve(BOTH, who, name)


async def test_an_ended_cluster_is_reached_by_uid_alone():
    """Its name means it no more."""
    ended = Some([replace(ANNS, ended=5.0)])

    assert (await resolve(ended, caller("ann", 1), UID)).ended == 5.0
    with pytest.raises(ClusterNotFound):
        await resolve(ended, caller("ann", 1), "etl")


async def test_a_name_that_looks_like_a_uid_is_a_name_first():
    """A cluster that is called as another's uid is found by its name."""
    named = cluster("c" + "b" * 19, "ann", 1, "c" + "d" * 19)

    assert await resolve(Some([BOBS, named]), caller("ann", 1), BOBS.uid) == named


@pytest.mark.parametrize("name", ["etk", "bob/etl", BOBS.uid])
async def test_a_refusal_hints_at_nothing_of_others(name):
    """The words are the same whether somebody else has such a cluster or nobody has."""

    async def words(store: Some) -> str:
        with pytest.raises(ClusterNotFound) as caught:
            await resolve(store, caller("ann", 1), name)
        return caught.value.words

    assert await words(BOTH) == await words(Some([ANNS]))


def test_the_daemons_own_user_is_an_administrator():
    """Root and the user whose daemon it is see everything; others their own."""
    assert may_see(caller("dan", 5, daemon_uid=5), ANNS)
    assert may_see(caller("root", 0, daemon_uid=5), ANNS)
    assert may_see(caller("ann", 1, daemon_uid=5), ANNS)
    assert not may_see(caller("bob", 2, daemon_uid=5), ANNS)


@pytest.mark.parametrize(("uid", "daemon_uid"), [(0, 1), (2, 1)])
def test_an_unprivileged_daemon_serves_its_own_user(uid, daemon_uid):
    """What it can't run as its owner it refuses, root's too."""
    check_may_create(caller("x", daemon_uid, daemon_uid))
    with pytest.raises(NotAllowed, match="daskd serve"):
        check_may_create(caller("x", uid, daemon_uid))


def test_a_root_daemon_serves_every_user_that_the_machine_knows():
    """A uid without a user has no groups and no home to run in: it is refused, with the mend."""
    check_may_create(caller("ann", 1, 0))
    with pytest.raises(NotAllowed, match="no user of uid 7"):
        check_may_create(caller("uid:7", 7, 0))


VIEW, USE, MANAGE, SHARE = Right.VIEW, Right.USE, Right.MANAGE, Right.SHARE
ACCESS = Access(admins=("adam",), operators=("olga", "@ops"))


def user(name: str, uid: int, *groups: str, scope: Scope | None = None) -> Caller:
    """A caller as the configuration `ACCESS` of a root daemon has it."""
    identity = Identity(name, uid, uid, "/", groups=groups)
    return Caller(identity, "unix socket", 0, role_of(identity, ACCESS, 0), scope)


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (user("root", 0), Role.ADMIN),
        (user("adam", 5), Role.ADMIN),
        (user("olga", 6), Role.OPERATOR),
        (user("zoe", 7, "ops", "staff"), Role.OPERATOR),
        (user("ops", 8), Role.USER),
        (user("ann", 1), Role.USER),
    ],
)
def test_the_configuration_says_who_is_more_than_a_user(who: Caller, role: Role) -> None:
    """By name or by group; a user who is called as a group is not in it."""
    assert who.role is role


ROOTS = cluster("sys", "root", 0, "c" + "e" * 19)
SHARED = replace(
    ANNS, grants=(Grant("bob", VIEW, 2), Grant("@staff", USE), Grant("meg", MANAGE, 9), Grant("@heads", VIEW))
)


@pytest.mark.parametrize(
    ("who", "what", "rights"),
    [
        (user("ann", 1), SHARED, {VIEW, USE, MANAGE, SHARE}),
        (user("bob", 2), SHARED, {VIEW}),
        (user("bob", 77), SHARED, set()),  # another user, to whom the name was given
        (user("eve", 3), SHARED, set()),
        (user("sam", 4, "staff", "heads"), SHARED, {VIEW, USE}),
        (user("meg", 9), SHARED, {VIEW, USE, MANAGE}),
        (user("olga", 6), SHARED, {VIEW, MANAGE}),
        (user("olga", 6, "staff"), SHARED, {VIEW, USE, MANAGE}),
        (user("adam", 5), SHARED, {VIEW, USE, MANAGE, SHARE}),
        (user("adam", 5), ROOTS, {VIEW, MANAGE}),
        (user("root", 0), SHARED, {VIEW, USE, MANAGE, SHARE}),
    ],
)
def test_rights_come_from_owning_grants_and_roles(who: Caller, what: Cluster, rights: set[Right]) -> None:
    """An operator does not become the owner, nor an administrator root; grants to several groups add up."""
    assert rights_on(who, what) == rights


def test_a_tokens_scope_only_takes_away() -> None:
    """What a token is not good for, its user may not do with it; what the user may not do, no scope gives."""
    some = Scope("t1", frozenset({VIEW, USE}), frozenset({UID}))
    assert rights_on(user("ann", 1, scope=some), ANNS) == {VIEW, USE}
    assert rights_on(user("bob", 2, scope=some), ANNS) == set()
    assert rights_on(user("bob", 2, scope=some), BOBS) == set()
    with pytest.raises(NotAllowed, match="token"):
        check_may_create(user("ann", 1, scope=some))


async def test_who_may_see_and_not_change_is_told_which_right_is_missing() -> None:
    """A cluster that one sees is no secret: the refusal names it, and the mend."""
    with pytest.raises(NotAllowed, match="daskctl share etl bob --right manage"):
        await resolve(Some([SHARED]), user("bob", 2), UID, MANAGE)
