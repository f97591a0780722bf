"""The daemon's end of a link by TLS, against whoever else could be there, and against what the right one may answer."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from hostile_server import HELLO, Reply, answers, drips, http, says, silent, streams

from daskd.control.link import Link, LinkError, link_address, secured
from daskd.drivers.streams import tcp
from daskd.security.certificates import Credentials, issue
from daskd.security.link_tls import client_context, scheduler_name

GIB = 1 << 30
OURS, OTHERS = issue("c"), issue("o")


def shown(credentials: Credentials, role: str, folder: Path) -> ssl.SSLContext:
    """What a server shows that has that certificate and asks for ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=OURS.ca)
    pem = folder / "shown.pem"
    pem.write_text(credentials.certificates[role] + credentials.keys[role])
    context.load_cert_chain(pem)
    return context


@contextmanager
def serving(context: ssl.SSLContext | None, reply: Reply, heard: list[bytes] | None = None) -> Iterator[int]:
    """The port of a server that answers every connection with `reply`; by TLS where there is a context."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            stream = context.wrap_socket(connection, server_side=True) if context else connection
            with stream:
                asked = stream.recv(1 << 16)
                if heard is not None:
                    heard.append(asked)
                reply(stream, over, "")

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join(10)


def link_to(port: int) -> Link:
    """A link with little patience to who must be the cluster's scheduler."""
    dial = secured(partial(tcp, "127.0.0.1", port), client_context(OURS), scheduler_name("c"))
    return Link(dial, "c", "i", timeout=2.0)


async def test_the_scheduler_is_spoken_with(tmp_path: Path) -> None:
    """Who shows the scheduler's certificate of the cluster is heard."""
    with serving(shown(OURS, "scheduler", tmp_path), says(http(HELLO))) as port:
        assert (await link_to(port).hello()).instance == "i"


async def test_it_is_claimed_before_it_is_used(tmp_path: Path) -> None:
    """A scheduler that waits for it is claimed by the id of its instance."""
    heard: list[bytes] = []

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(http(b'{"instance": "i"}' if b"/v1/claim" in heard[-1] else HELLO))

    with serving(shown(OURS, "scheduler", tmp_path), reply, heard) as port:
        dial = secured(partial(tcp, "127.0.0.1", port), client_context(OURS), scheduler_name("c"))
        await Link(dial, "c", "i", timeout=10.0, is_claimed=True).hello()
    assert heard[-1].startswith(b"POST /v1/claim ")
    assert heard[-1].endswith(b'{"instance": "i"}')


@pytest.mark.parametrize(
    ("credentials", "role", "words"),
    [
        (OTHERS, "scheduler", "not the cluster's scheduler"),
        (OURS, "worker", "not the cluster's scheduler"),
        (OURS, "client", "not the cluster's scheduler"),
    ],
    ids=["another cluster's scheduler", "a worker", "a client"],
)
async def test_who_is_not_the_scheduler_hears_nothing(
    credentials: Credentials, role: str, words: str, tmp_path: Path
) -> None:
    """Another cluster's certificate, or another role's, is refused before anything is asked."""
    heard: list[bytes] = []
    with (
        serving(shown(credentials, role, tmp_path), says(http(HELLO)), heard) as port,
        pytest.raises(LinkError, match=words),
    ):
        await link_to(port).hello()
    assert not any(heard)


async def test_who_speaks_no_tls_is_told_no_request() -> None:
    """Of a request by plain TCP not a word is sent."""
    heard: list[bytes] = []
    with serving(None, says(http(HELLO)), heard) as port, pytest.raises(LinkError, match="TLS with its link failed"):
        await link_to(port).hello()
    assert not any(b"hello" in each for each in heard)


HOSTILE: dict[str, tuple[Reply, str]] = {
    "garbage": (says(os.urandom(4096)), "no HTTP|hung up"),
    "nothing and a hang-up": (says(b""), "hung up|no HTTP"),
    "half an answer": (says(http(HELLO)[:-10]), "hung up|no HTTP"),
    "a gigabyte with its length": (streams(http(b"")[:17] + b"Content-Length: %d\r\n\r\n" % GIB, b"1", GIB), "longer"),
    "a gigabyte without a length": (streams(b"HTTP/1.1 200 OK\r\n\r\n", b"1", GIB), "how long"),
    "a gigabyte of headers": (streams(b"HTTP/1.1 200 OK\r\nX: ", b"1", GIB), "no HTTP"),
    "silence": (silent, "did not answer within"),
    "a slow drip": (drips(http(HELLO)), "did not answer within"),
    "another's name": (answers(lambda _: http(HELLO.replace(b'"i"', b'"other"'))), "another cluster's runtime"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_the_scheduler_answers_is_bounded(case: str, tmp_path: Path) -> None:
    """Garbage, floods, silence of the right scheduler's process are told in words, in time."""
    reply, words = HOSTILE[case]
    with serving(shown(OURS, "scheduler", tmp_path), reply) as port, pytest.raises(LinkError, match=words):
        await link_to(port).hello()


@pytest.mark.parametrize(
    ("reply", "words"),
    [(silent, "did not answer within"), (streams(b"", b"\x16\x03\x03\x40\x00", GIB), "TLS with its link failed")],
    ids=["silence", "a flood"],
)
async def test_a_handshake_is_bounded(reply: Reply, words: str) -> None:
    """Who never answers the first word of TLS, or floods instead, is given up in time."""
    with serving(None, reply) as port, pytest.raises(LinkError, match=words):
        await link_to(port).hello()


async def test_nobody_there_is_told() -> None:
    """A port that nobody listens on is told as such."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LinkError, match="nobody answers on its link"):
        await link_to(port).hello()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tls://10.0.0.7:43210", ("10.0.0.7", 43210)),
        ("tls://[fd00::7]:43210", ("fd00::7", 43210)),
        ("tls://node-1.site:1024", ("node-1.site", 1024)),
        ("tls://10.0.0.7:22", None),
        ("tls://10.0.0.7:1023", None),
        ("tls://10.0.0.7:65536", None),
        ("tcp://10.0.0.7:43210", None),
        ("tls://10.0.0.7:43210/x", None),
        ("tls://a b:43210", None),
        ("tls://-x:43210", None),
        ("", None),
    ],
)
def test_where_a_link_is_said_to_be_is_checked(text: str, address: tuple[str, int] | None) -> None:
    """What users' code says of an address is one, at no other service's port, or nothing is dialled."""
    assert link_address(text) == address


def test_each_role_has_a_certificate_of_its_own() -> None:
    """The daemon's is none of those that clusters' processes and clients are given."""
    held: Callable[[str], str] = OURS.certificates.__getitem__
    assert len({held(role) for role in ("scheduler", "worker", "client", "daemon")}) == 4
