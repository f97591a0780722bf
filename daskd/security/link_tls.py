"""What the daemon shows a scheduler that a driver placed, and whom it takes for it."""

from __future__ import annotations

import os
import ssl

from .certificates import Credentials

DAEMON = "daemon"
"""The role of the daemon's own certificate, which no cluster's process ever has."""


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """TLS as the daemon speaks it with one cluster's scheduler: each side's certificate is of the cluster's authority.

    Blocks for a moment.

    Raises
    ------
    KeyError
        When the credentials are of a release that placed no schedulers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=credentials.ca)
    # OpenSSL reads a key from a file alone: one in memory, which nobody else can open
    descriptor = os.memfd_create("link", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, (credentials.certificates[DAEMON] + credentials.keys[DAEMON]).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def scheduler_name(cluster: str) -> str:
    """The name that a cluster's scheduler has in its certificate."""
    return f"{cluster}.scheduler"
