"""How a cluster's start is shown: one line on a terminal's stderr, one display in a notebook, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from .types import Cluster, Phase


def describe(cluster: Cluster) -> str:
    """What a cluster does now, on one line."""
    words = {
        Phase.PENDING: "waits to be started",
        Phase.STARTING: "starts its scheduler",
        Phase.RUNNING: "runs",
        Phase.STOPPING: "is being ended",
        Phase.STOPPED: "has ended",
        Phase.FAILED: "failed",
    }
    text = f"Cluster {cluster.name} {words.get(cluster.phase, cluster.phase.value)}"
    desired = sum(group.desired for group in cluster.groups)
    if desired:
        text += f", {sum(group.running for group in cluster.groups)} of {desired} workers"
    hindrances = [cluster.message, *(group.message for group in cluster.groups)]
    hindrances += [tasks.message for tasks in cluster.unplaceable_tasks]
    hindrance = next(filter(None, hindrances), "")
    return f"{text}: {' '.join(hindrance.split())}" if hindrance else text


class Silent:
    """Shows nothing."""

    def show(self, cluster: Cluster) -> None:
        """Take note of nothing."""

    def done(self) -> None:
        """Leave nothing behind."""


class TerminalLine(Silent):
    """One line that is written over and over, and gone in the end."""

    def __init__(self, stream: TextIO, width: int = 79) -> None:
        self._stream = stream
        self._width = width

    def show(self, cluster: Cluster) -> None:
        """Write what the cluster does over what was there."""
        self._write(describe(cluster)[: self._width])

    def done(self) -> None:
        """Wipe the line."""
        self._write("")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that went away is no reason to fail
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()


class NotebookDisplay(Silent):
    """One display below the cell, renewed in place."""

    def __init__(self, display: Callable[..., Any]) -> None:
        # Made here, in the cell's own thread; the updates come from the cluster's.
        self._handle = display({"text/plain": "Asking the daemon for a cluster"}, raw=True, display_id=True)

    def show(self, cluster: Cluster) -> None:
        """Renew the display."""
        self._update(describe(cluster))

    def done(self) -> None:
        """Leave an empty display."""
        self._update("")

    def _update(self, text: str) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": text}, raw=True)


def make_progress(wanted: bool | str, stream: TextIO | None = None) -> Silent:
    """The way to show progress here: `wanted` is True, False, or "auto" (where somebody looks)."""
    if wanted not in (True, "auto"):
        return Silent()
    display = _notebook_display()
    if display is not None:
        return NotebookDisplay(display)
    stream = sys.stderr if stream is None else stream
    if wanted is True or (hasattr(stream, "isatty") and stream.isatty()):
        return TerminalLine(stream)
    return Silent()


def _notebook_display() -> Callable[..., Any] | None:
    """IPython's display, in a kernel; None elsewhere. Nothing is imported that the user did not."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return None
    shell = ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display
