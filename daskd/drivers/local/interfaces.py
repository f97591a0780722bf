"""The addresses of the machine that this runs on. Standard library alone, like `files.py`: drivers send it to hosts."""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915
_DISCARD = 9


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface; what names none is an address, or a host's name, itself.

    Raises
    ------
    OSError
        When the interface has no address.
    """
    if interface not in (name for _, name in socket.if_nameindex()):
        return interface
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        asked = struct.pack("256s", interface.encode()[:15])
        return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, asked)[20:24])


def address_towards(host: str) -> str:
    """The IPv4 address from which this machine would reach another; "" where there is no way, or only to itself."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _DISCARD))  # sends nothing
            found = str(probe.getsockname()[0])
    except OSError:
        return ""
    return "" if found.startswith("127.") or found == "0.0.0.0" else found  # noqa: S104 - compared


def scheduler_place(interface: str, towards: str) -> dict[str, str | None]:
    """Where a scheduler listens, and is said to be.

    Parameters
    ----------
    interface
        The one that was asked for; empty: all.
    towards
        An address of this machine, or the host that reaches it; empty: unknown.
    """
    if interface:
        address = address_of(interface)
        return {"host": address, "contact_host": address}
    return {"host": "0.0.0.0", "contact_host": address_towards(towards) or None}  # noqa: S104 - asks for certificates
