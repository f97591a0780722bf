"""Which releases of daskd's client and daemon go together: those of one minor version, and of its neighbours."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from .types import DaemonInfo

_RELEASE = re.compile(r"(\d+)\.(\d+)", re.ASCII)


def own_release() -> str:
    """The release of this client; empty where it was not installed, as in a source tree."""
    try:
        return version("daskd")
    except PackageNotFoundError:
        return ""


def skew(client: str, daemon: DaemonInfo) -> str:
    """Why a client of that release and a daemon may misunderstand each other, and what to upgrade; empty if they go.

    A release that is not known is taken for a good one.
    """
    ours, theirs = _minor(client), _minor(daemon.version)
    if ours is None or theirs is None:
        return ""
    oldest = _minor(daemon.minimum_client_version)
    apart = ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > 1
    is_too_old = oldest is not None and ours < oldest
    if not apart and not is_too_old:
        return ""
    words = f"This is daskd's client {client}, and the daemon is daskd {daemon.version}"
    if ours > theirs:
        return f"{words}: upgrade the daemon to at least {client}, or here: pip install daskd=={daemon.version}."
    return f"{words}: upgrade the client: pip install daskd=={daemon.version}."


def unknown_call(client: str, daemon: str) -> str:
    """That a daemon of that release does not know a call of a client of this one, and what to upgrade."""
    at_least = f" to at least {client}" if client else ""
    return f"daskd {daemon} does not know this call: upgrade the daemon{at_least}."


def _minor(release: str) -> tuple[int, int] | None:
    found = _RELEASE.match(release)
    return (int(found[1]), int(found[2])) if found else None
