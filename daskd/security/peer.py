"""Who is at the other end of a unix socket, by the kernel's word."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from contextlib import suppress

from daskd.model.identity import Identity

_UCRED = struct.Struct("3i")


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that connected (or, on a client's side, of the one that called `listen`).

    Raises
    ------
    OSError
        When it is no connected unix socket.
    """
    _pid, uid, _gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


def identity_of(uid: int) -> Identity:
    """The user of that uid. One that this machine does not know is called `uid:N`, lives in `/`, has the group N.

    Looks the user up in the name service, which may block: not for the event loop.
    """
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return Identity(name=f"uid:{uid}", uid=uid, gid=uid, home="/")
    return Identity(
        name=user.pw_name,
        uid=uid,
        gid=user.pw_gid,
        home=user.pw_dir,
        shell=user.pw_shell or "/bin/sh",
        groups=_group_names(user),
    )


def _group_names(user: pwd.struct_passwd) -> tuple[str, ...]:
    names = []
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        # a group of the list that the name service does not know has no name to be called by
        with suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return tuple(names)
