"""Tokens over a unix socket, and whom they are asked from."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daskd_client import DaemonUnavailable, Unauthenticated, UntrustedDaemon
from daskd_client.address import Address
from daskd_client.auth import SocketCredentials, exchange, parse_token

from .serving import Exchange

NOBODY = 65534


async def serve_both(folder: Path, answer: Callable[[str], bytes] | None = None, lifetime: float = 600.0) -> Exchange:
    """A listener at the daemon's socket, and the exchange beside it, for the test's event loop."""
    handler = Exchange(folder / "d.sock.auth", lifetime=lifetime, answer=answer)

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    await asyncio.start_unix_server(nothing, path=str(folder / "d.sock"))
    await asyncio.start_unix_server(handler, path=str(handler.path))
    return handler


async def test_token_is_fetched_once_and_kept_while_it_is_good(tmp_path: Path) -> None:
    """Calls share one token for as long as it is good."""
    handler = await serve_both(tmp_path)
    credentials = SocketCredentials(Address(socket=tmp_path / "d.sock"))
    assert await credentials.metadata() == [("authorization", "Bearer token-1")]
    assert await credentials.metadata() == [("authorization", "Bearer token-1")]
    assert handler.given == ["token-1"]


async def test_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """A token that ends within seconds is not used again."""
    await serve_both(tmp_path, lifetime=5.0)
    credentials = SocketCredentials(Address(socket=tmp_path / "d.sock"))
    assert await credentials.metadata() == [("authorization", "Bearer token-1")]
    assert await credentials.metadata() == [("authorization", "Bearer token-2")]


async def test_refused_token_is_fetched_anew(tmp_path: Path) -> None:
    """A daemon that was started again is asked for a new token."""
    await serve_both(tmp_path)
    credentials = SocketCredentials(Address(socket=tmp_path / "d.sock"))
    await credentials.metadata()
    assert credentials.refused()
    assert await credentials.metadata() == [("authorization", "Bearer token-2")]


def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    """Where no socket is, the error names the address and `daskd serve`."""
    with pytest.raises(DaemonUnavailable) as caught:
        exchange(Address(socket=tmp_path / "d.sock"))
    assert f"unix:{tmp_path}/d.sock" in str(caught.value)
    assert "daskd serve" in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@contextmanager
def _sockets_of(uid: int, folder: Path) -> Iterator[None]:
    """Both sockets of a daemon, listened at by a process of another user."""
    program = (
        "import os, socket, sys\n"
        "socks = [socket.socket(socket.AF_UNIX) for _ in range(2)]\n"
        "for sock, path in zip(socks, sys.argv[2:]): sock.bind(path); os.chmod(path, 0o666)\n"
        "os.setuid(int(sys.argv[1]))\n"
        "for sock in socks: sock.listen()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    paths = [str(folder / "d.sock"), str(folder / "d.sock.auth")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(uid), *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate()


@pytest.mark.skipif(os.getuid() != 0, reason="another user's process can be made by root alone")
def test_another_users_socket_is_sent_nothing(tmp_path: Path) -> None:
    """A socket that another user listens at is refused by its uid."""
    with _sockets_of(NOBODY, tmp_path), pytest.raises(UntrustedDaemon) as caught:
        exchange(Address(socket=tmp_path / "d.sock"))
    assert caught.value.facts == {"path": str(tmp_path / "d.sock"), "uid": str(NOBODY)}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\n",
        b'{"token": "a\\nb", "expires": 1}\n',
        b'{"token": "", "expires": 1}\n',
        b'{"token": "t", "expires": "soon"}\n',
        b"x" * 20_000,
    ],
)
def test_an_answer_that_is_no_token_is_an_error_of_its_own(answer: bytes) -> None:
    """Whatever the exchange answers, it is read as a token or refused."""
    with pytest.raises(Unauthenticated):
        parse_token(answer, Address(socket=Path("/d.sock")))


def test_token_is_not_shown_in_a_repr() -> None:
    """A token does not get into logs by its repr."""
    line = json.dumps({"token": "secret", "expires": time.time(), "user": "ann"}).encode()
    assert "secret" not in repr(parse_token(line, Address(socket=Path("/d.sock"))))


def test_a_silent_exchange_is_given_up(tmp_path: Path) -> None:
    """An exchange that never answers is an error after a bounded time, not a hang."""
    with socket.socket(socket.AF_UNIX) as daemon, socket.socket(socket.AF_UNIX) as silent:
        for sock, name in ((daemon, "d.sock"), (silent, "d.sock.auth")):
            sock.bind(str(tmp_path / name))
            sock.listen()
        with pytest.raises(DaemonUnavailable):
            exchange(Address(socket=tmp_path / "d.sock"), timeout=0.2)
