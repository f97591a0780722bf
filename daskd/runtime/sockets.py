"""Unix sockets that the daemon bound: received from it, and listened on here, so that it can tell whose they are."""

from __future__ import annotations

import os
import socket

_BACKLOG = 64


def listening(fd: int) -> socket.socket:
    """Return a bound unix socket that listens from now on.

    Parameters
    ----------
    fd : int
        Its descriptor. ``listen`` is called here: that lets the daemon read our uid from SO_PEERCRED before
        it sends a byte.

    Raises
    ------
    OSError
        ``fd`` is no bound unix socket.
    """
    sock = socket.socket(fileno=fd)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise OSError(f"descriptor {fd} is no unix stream socket: the daemon must pass one that it bound")
    sock.setblocking(False)
    sock.set_inheritable(False)
    sock.listen(_BACKLOG)
    return sock


def received(fd: int, n: int) -> list[int]:
    """Return ``n`` descriptors that wait in the socket ``fd``, which is closed.

    An instance is handed one descriptor on its way here through zygote and supervisor; so several come in one.

    Raises
    ------
    OSError
        They are not there.
    """
    with socket.socket(fileno=fd) as carrier:
        carrier.setblocking(False)
        _, descriptors, _, _ = socket.recv_fds(carrier, 1, n)
    if len(descriptors) != n:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(f"{n} sockets were to come over descriptor {fd}, and {len(descriptors)} did")
    return descriptors
