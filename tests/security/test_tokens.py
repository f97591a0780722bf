"""The token exchange: the kernel says who connects; slow, greedy and hostile peers hinder nobody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from daskd.model.errors import StateUnusable, Unauthenticated
from daskd.model.identity import Identity
from daskd.security import tokens as tokens_module
from daskd.security.peer import identity_of, peer_uid
from daskd.security.tokens import Tokens, TokenServer

ANN = Identity("ann", 1001, 1001, "/home/ann")
BOB = Identity("bob", 1002, 1002, "/home/bob")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_says_whose_it_is():
    """Two users' tokens are told apart; each call makes a new one."""
    tokens = Tokens(Clock())
    ann, again, bob = tokens.issue(ANN), tokens.issue(ANN), tokens.issue(BOB)

    assert [tokens.lookup(each.token) for each in (ann, again, bob)] == [ANN, ANN, BOB]
    assert len({ann.token, again.token, bob.token}) == 3


@pytest.mark.parametrize("token", ["", "x", "é", "\udcff", "x" * 100_000])
def test_an_unknown_token_is_refused(token):
    """Whatever was never given out is nobody's."""
    with pytest.raises(Unauthenticated):
        Tokens(Clock()).lookup(token)


def test_a_token_ends_with_its_time():
    """At its expiry it is nobody's any more."""
    clock = Clock()
    tokens = Tokens(clock, lifetime=10)
    issued = tokens.issue(ANN)

    clock.now = issued.expires - 0.001
    assert tokens.lookup(issued.token) == ANN
    clock.now = issued.expires
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.lookup(issued.token)


def test_expired_tokens_are_forgotten():
    """What has expired takes no memory once somebody asks for a new one."""
    clock = Clock()
    tokens = Tokens(clock, lifetime=10)
    for _ in range(50):
        tokens.issue(ANN)
    clock.now += 11
    tokens.issue(BOB)

    assert len(tokens._entries) == 1
    assert set(tokens._per_user) == {BOB.uid}


def test_a_greedy_user_loses_their_own_oldest(monkeypatch):
    """Who asks without end displaces nobody's tokens but their own."""
    monkeypatch.setattr(tokens_module, "_MOST_PER_USER", 5)
    tokens = Tokens(Clock())
    bob = tokens.issue(BOB)
    ann = [tokens.issue(ANN) for _ in range(20)]

    assert tokens.lookup(bob.token) == BOB
    assert tokens.lookup(ann[-1].token) == ANN
    with pytest.raises(Unauthenticated):
        tokens.lookup(ann[0].token)
    assert len(tokens._entries) == 6


def test_tokens_are_bounded_over_all_users(monkeypatch):
    """The whole table has a bound; the oldest goes first."""
    monkeypatch.setattr(tokens_module, "_MOST_TOKENS", 3)
    tokens = Tokens(Clock())
    issued = [tokens.issue(Identity(f"u{uid}", uid, uid, "/")) for uid in range(5)]

    assert tokens.lookup(issued[-1].token).uid == 4
    with pytest.raises(Unauthenticated):
        tokens.lookup(issued[0].token)


def test_tokens_are_kept_hashed():
    """A dump of the daemon's memory holds no token to use."""
    tokens = Tokens(Clock())
    issued = tokens.issue(ANN)

    assert issued.token not in repr(vars(tokens))


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dk") as name:
        yield Path(name)


@pytest.fixture
async def exchange(directory: Path) -> AsyncIterator[tuple[Tokens, Path]]:
    tokens = Tokens(time.time)
    server = TokenServer(tokens)
    await server.listen(directory / "s", 0o600)
    yield tokens, directory / "s.auth"
    await server.close()


async def ask(path: Path) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        return dict(json.loads(await asyncio.wait_for(reader.readline(), 20)))
    finally:
        writer.close()


async def test_a_caller_gets_a_token_of_their_own(exchange):
    """One line of JSON: the token, its expiry, the user as the daemon knows them."""
    tokens, path = exchange

    answer = await ask(path)

    assert set(answer) == {"token", "expires", "user"}
    assert answer["user"] == identity_of(os.geteuid()).name
    assert answer["expires"] > time.time()
    assert tokens.lookup(answer["token"]).uid == os.geteuid()


async def test_the_connection_is_closed_after_the_line(exchange):
    """Nothing follows the answer, and nothing is waited for."""
    _tokens, path = exchange
    reader, writer = await asyncio.open_unix_connection(str(path))

    lines = (await asyncio.wait_for(reader.read(), 20)).splitlines()

    writer.close()
    assert len(lines) == 1


async def test_hostile_peers_hinder_nobody(exchange):
    """Those who connect and leave, never read, or send rubbish keep no other from a token."""
    _tokens, path = exchange
    writers = []
    for number in range(100):
        _reader, writer = await asyncio.open_unix_connection(str(path))
        if number % 3 == 0:
            writer.transport.abort()
        elif number % 3 == 1:
            writer.write(b"x" * 100_000)
        writers.append(writer)

    assert (await ask(path))["token"]
    for writer in writers:
        writer.close()


async def test_connections_are_bounded(exchange, monkeypatch):
    """Beyond the bound a peer is turned away at once, and the next is served when there is room."""
    monkeypatch.setattr(tokens_module, "_MOST_CONNECTIONS", 0)
    _tokens, path = exchange
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()

    monkeypatch.setattr(tokens_module, "_MOST_CONNECTIONS", 1)
    assert (await ask(path))["token"]


async def test_a_slow_name_service_holds_up_no_one_for_ever(exchange, monkeypatch):
    """A user who can't be looked up in time is turned away; the loop goes on meanwhile."""
    monkeypatch.setattr(tokens_module, "_EXCHANGE_TIMEOUT", 0.05)
    hanging = asyncio.Event()

    async def never(*_: Any) -> None:
        hanging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "to_thread", never)
    _tokens, path = exchange
    reader, writer = await asyncio.open_unix_connection(str(path))

    assert await asyncio.wait_for(reader.read(), 20) == b""
    assert hanging.is_set()
    writer.close()


async def test_a_stale_socket_is_replaced(directory):
    """What a killed daemon left behind is no hindrance."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / "s.auth"))
    server = TokenServer(Tokens(time.time))
    await server.listen(directory / "s", 0o600)

    assert (await ask(directory / "s.auth"))["token"]
    assert stat.S_IMODE((directory / "s.auth").stat().st_mode) == 0o600
    await server.close()


async def test_a_live_socket_is_left_alone(exchange, directory):
    """A second daemon is refused in words, and the first goes on answering."""
    with pytest.raises(StateUnusable, match="another daemon listens"):
        await TokenServer(Tokens(time.time)).listen(directory / "s", 0o600)

    assert (await ask(directory / "s.auth"))["token"]


async def test_closing_removes_only_what_is_ours(directory):
    """A file that took the socket's place meanwhile stays; our own goes."""
    server = TokenServer(Tokens(time.time))
    await server.listen(directory / "s", 0o600)
    (directory / "s.auth").unlink()
    (directory / "s.auth").write_text("somebody else's")
    await server.close()
    assert (directory / "s.auth").read_text() == "somebody else's"

    (directory / "s.auth").unlink()
    server = TokenServer(Tokens(time.time))
    await server.listen(directory / "s", 0o600)
    await server.close()
    assert list(directory.iterdir()) == []


def test_peer_uid_is_the_kernels_word():
    """The other end of a socket pair is this process's user."""
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert peer_uid(left) == os.geteuid()


def test_a_uid_without_a_name_has_one_made():
    """A user that the machine does not know is called by the number."""
    assert identity_of(4_000_000_123) == Identity("uid:4000000123", 4_000_000_123, 4_000_000_123, "/")
