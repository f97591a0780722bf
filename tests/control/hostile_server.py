"""A unix socket behind which something else than a runtime answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Reply = Callable[[socket.socket, threading.Event, str], None]
"""Answers one connection, to a request for that target; the event says that the test is over."""

HELLO = b'{"protocol": 1, "runtime_version": "1", "cluster": "c", "instance": "i"}'


def http(body: bytes, status: str = "200 OK") -> bytes:
    """An answer as a runtime's HTTP server would send it."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def says(data: bytes) -> Reply:
    """Sends that, and hangs up."""

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(data)

    return reply


def answers(of: Callable[[str], bytes]) -> Reply:
    """Sends what `of` makes of the request's target."""

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(of(target))

    return reply


def streams(head: bytes, piece: bytes, most: int) -> Reply:
    """Sends a head and then pieces, `most` bytes in all or until nobody reads any more."""

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        connection.sendall(head)
        block = piece * max(1, (1 << 16) // len(piece))
        for _ in range(most // len(block)):
            connection.sendall(block)
            if over.is_set():
                return

    return reply


def drips(data: bytes) -> Reply:
    """Sends a byte now and then."""

    def reply(connection: socket.socket, over: threading.Event, target: str) -> None:
        for n in range(len(data)):
            connection.sendall(data[n : n + 1])
            if over.wait(0.05):
                return

    return reply


def silent(connection: socket.socket, over: threading.Event, target: str) -> None:
    """Sends nothing, and does not hang up."""
    over.wait()


@contextmanager
def serving(path: Path, reply: Reply) -> Iterator[None]:
    """Answers every connection with `reply`, in threads."""
    over = threading.Event()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            target = connection.recv(1 << 16).split(b" ")[1].decode()
            reply(connection, over, target)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for thread in threads:
            thread.join(10)
