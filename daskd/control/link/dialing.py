"""Ways to a scheduler: by the unix socket that the daemon bound for it, or by TLS over whatever reaches it."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from daskd.drivers.streams import Stream, pair
from daskd.security.peer import peer_uid

from .tls import TlsStream

Dial = Callable[[], Awaitable[Stream]]
"""Opens a stream to a scheduler's process; raises `NotReached`."""

_LINK = re.compile(r"tls://(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_][A-Za-z0-9_.-]{0,252})):([0-9]{4,5})", re.ASCII)


class NotReached(Exception):
    """Nobody, or somebody else, is at the other end; the words say who or why."""


def link_address(text: str) -> tuple[str, int] | None:
    """Host and port of where a scheduler said that its link is; None for what it can't be.

    It is users' code that says so: of the ports below 1024, which are others' services, it is none.
    """
    match = _LINK.fullmatch(text)
    if match is None or not 1024 <= int(match[3]) < 1 << 16:
        return None
    return match[1] or match[2], int(match[3])


def unix(path: Path, uid: int) -> Dial:
    """Dials a unix socket on which that user listens: not a byte is sent to anybody else."""

    async def dial() -> Stream:
        sock = _connected(path, uid)
        return pair(*await asyncio.open_unix_connection(sock=sock))

    return dial


def _connected(path: Path, uid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # at once on a unix socket, and asyncio would take a full queue for a connection
        sock.connect(str(path))
        # on a unix socket the peer is who called listen()
        if (peer := peer_uid(sock)) not in (uid, 0):
            raise NotReached(f"the user {peer} listens on its link, not the user {uid} whose cluster it is")
    except BlockingIOError:
        sock.close()
        raise NotReached("it takes no more connections: its event loop has been busy for long") from None
    except OSError as error:
        sock.close()
        raise NotReached(f"nobody answers on its link: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    return sock


def secured(raw: Callable[[], Awaitable[Stream]], context: ssl.SSLContext, name: str) -> Dial:
    """Dials by TLS over a stream; not a byte but TLS's own is sent to who does not prove to be of that name.

    Parameters
    ----------
    raw
        Opens the stream; raises OSError.
    context
        What the daemon shows, and whom it trusts.
    """

    async def dial() -> Stream:
        try:
            stream = await raw()
        except OSError as error:
            raise NotReached(f"nobody answers on its link: {error.strerror or error}") from None
        try:
            return await TlsStream.over(stream, context, name)
        except ssl.SSLCertVerificationError as error:
            stream.close()
            raise NotReached(
                f"who listens on its link is not the cluster's scheduler: {error.verify_message}"
            ) from None
        except (ssl.SSLError, OSError) as error:
            stream.close()
            raise NotReached(f"TLS with its link failed: {getattr(error, 'reason', None) or error}"[:300]) from None
        except BaseException:
            stream.close()
            raise

    return dial
