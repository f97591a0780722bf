"""What a daemon tells systemd (`sd_notify(3)`): ready, reloading, stopping, and that its loop is alive.

Outside of systemd all of it does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

FEEDS_PER_TIMEOUT = 3
"""How often the watchdog is fed within the time that it waits; one that comes late is no reason to be killed."""


def is_unit(environ: Mapping[str, str], pid: int) -> bool:
    """Whether systemd started this very process as a service; a shell below a service is none."""
    return environ.get("SYSTEMD_EXEC_PID") == str(pid) or "NOTIFY_SOCKET" in environ


class Notifier:
    """Speaks to the service manager that started this process; made by `from_environ`.

    Parameters
    ----------
    address
        The manager's datagram socket, "@name" for an abstract one; "": there is none.
    watchdog
        Seconds without a sign of life after which the manager kills this process; None: it does not watch.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told_failure = False
        self.watchdog = watchdog

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, as systemd sets them; `pid` is this process's."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls("")
        return cls(address, _watchdog(environ, pid))

    def ready(self, status: str) -> None:
        """The daemon serves: at first, and after a reload."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading the configuration")

    def stopping(self) -> None:
        """The daemon ends now."""
        self._send("STOPPING=1", "STATUS=stopping; clusters run on")

    async def feed(self) -> None:
        """Feed the watchdog until cancelled, from a task of the loop: one that is stuck feeds nothing."""
        if self.watchdog is None or not self._address:
            return
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / FEEDS_PER_TIMEOUT)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
                # never wait: a manager that does not read must not make the loop hang
                manager.setblocking(False)
                manager.connect(self._address)
                manager.send("\n".join(lines).encode())
        except OSError as error:
            if not self._told_failure:
                self._told_failure = True
                log.warning("systemd can't be told how this daemon is", error=os.strerror(error.errno or 0))


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(pid))
    if meant != str(pid) or not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6
