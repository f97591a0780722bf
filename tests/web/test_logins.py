"""Codes and sessions of dashboards: single use, short lives, and no more than their user has."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from daskd.config import Access
from daskd.model.access import Right, Role
from daskd.model.errors import Unauthenticated
from daskd.model.identity import Identity
from daskd.security import dashboard_logins
from daskd.security.authorize import Caller, role_of
from daskd.security.dashboard_logins import CODE_S, FRESH_S, DashboardLinks, DashboardLogins
from daskd.security.lasting_tokens import Asked, LastingTokens, caller_by_token
from daskd.security.peer import identity_of
from daskd.store import SqliteStore

from .proxied import MACHINE

UID = "caaaaaaaaaaaaaaaaaaa"
SESSION_S = 3600.0


class Clock:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of codes and sessions."""
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    """Where tokens are."""
    opened = await SqliteStore.open(tmp_path / "state", machine_id=MACHINE, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def access() -> list[Access]:
    """The configuration's say of who is more than a user; the last one holds."""
    return [Access()]


@pytest.fixture
def logins(store: SqliteStore, access: list[Access], clock: Clock) -> DashboardLogins:
    """None given out yet."""
    return DashboardLogins(store, lambda: access[-1], clock, SESSION_S)


def me() -> Caller:
    """This test's own user, as a daemon of somebody else's sees it."""
    return Caller(identity_of(os.getuid()), "here", daemon_uid=-1)


def nobody() -> Caller:
    """A user who is no admin by nature."""
    return Caller(identity_of(65534), "here", daemon_uid=-1)


async def test_a_code_is_good_once_for_its_cluster_and_a_minute(logins: DashboardLogins, clock: Clock) -> None:
    """Used, tried with another cluster, old or made up, a code opens nothing."""
    code, expires = logins.code(me(), UID)
    assert expires == clock.now + CODE_S
    visit = await logins.visit(logins.open(code, UID))
    assert visit is not None
    assert (visit.caller, visit.cluster) == (me(), UID)
    wrong, _ = logins.code(me(), UID)
    old, _ = logins.code(me(), UID)
    refused = [(code, UID), (wrong, UID[:-1] + "b"), (wrong, UID), ("", UID), ("made-up", UID)]
    clock.now += CODE_S
    for secret, cluster in [*refused, (old, UID)]:
        with pytest.raises(Unauthenticated):
            logins.open(secret, cluster)


async def test_a_session_ends_with_its_time(logins: DashboardLogins, clock: Clock) -> None:
    """A session is good for as long as was said, whoever uses it meanwhile, and a code is none."""
    code, _ = logins.code(me(), UID)
    assert await logins.visit(code) is None
    secret = logins.open(code, UID)
    clock.now += SESSION_S - 1
    assert await logins.visit(secret) is not None
    clock.now += 1
    assert await logins.visit(secret) is None


async def test_a_role_that_was_taken_away_counts_after_a_minute(
    logins: DashboardLogins, access: list[Access], clock: Clock
) -> None:
    """Who was an operator at the login is looked up again, groups and all."""
    access.append(Access(operators=(nobody().name,)))
    caller = replace(nobody(), role=role_of(nobody().identity, access[-1], -1))
    secret = logins.open(logins.code(caller, UID)[0], UID)
    access.append(Access())
    clock.now += FRESH_S
    visit = await logins.visit(secret)
    assert visit is not None
    assert visit.caller.role is Role.USER


async def test_a_session_by_a_token_is_no_more_than_that_and_ends_with_it(
    logins: DashboardLogins, store: SqliteStore, clock: Clock
) -> None:
    """The token's bounds hold in the session, and a minute after it was revoked the session is nobody's."""
    tokens = LastingTokens(store, clock)
    asked = Asked(role=Role.USER, right=Right.VIEW, clusters=(UID,), lifetime=SESSION_S, description="")
    token, _ = await tokens.create(me(), asked)
    caller = caller_by_token(me(), token)
    secret = logins.open(logins.code(caller, UID)[0], UID)
    clock.now += FRESH_S
    visit = await logins.visit(secret)
    assert visit is not None
    assert visit.caller.scope == caller.scope
    await tokens.revoke(me(), token.id)
    clock.now += FRESH_S
    assert await logins.visit(secret) is None


async def test_a_uid_that_is_another_users_by_now_has_no_session(logins: DashboardLogins, clock: Clock) -> None:
    """A login of a user who was deleted, and whose uid was given away, does not become the new user's."""
    gone = Caller(Identity("long-gone", os.getuid(), 0, "/"), "here", daemon_uid=-1)
    secret = logins.open(logins.code(gone, UID)[0], UID)
    clock.now += FRESH_S
    assert await logins.visit(secret) is None


async def test_one_user_crowds_out_only_oneself(logins: DashboardLogins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a user's oldest session goes, and nobody else's."""
    monkeypatch.setattr(dashboard_logins, "_MOST_PER_USER", 2)
    other = logins.open(logins.code(nobody(), UID)[0], UID)
    caller = Caller(Identity("ann", 12345, 12345, "/"), "here", daemon_uid=-1)
    mine = [logins.open(logins.code(caller, UID)[0], UID) for _ in range(3)]
    assert [await logins.visit(secret) is not None for secret in [other, *mine]] == [True, False, True, True]


def test_links_begin_with_a_host_of_the_clusters_own_where_there_is_one(logins: DashboardLogins) -> None:
    """ "{cluster}" in the public URL is the cluster's uid; TLS is what the URL says."""
    shared = DashboardLinks("http://127.0.0.1:8787", logins)
    own = DashboardLinks("https://{cluster}.example.org", logins)
    assert shared.plain(UID) == f"http://127.0.0.1:8787/clusters/{UID}/status"
    assert own.plain(UID) == f"https://{UID}.example.org/clusters/{UID}/status"
    assert (shared.is_secure, own.is_secure) == (False, True)
    assert own.create(me(), UID).url.startswith(f"https://{UID}.example.org/clusters/{UID}/daskd-login?code=")
