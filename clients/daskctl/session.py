"""What every command is given: where the daemon is, and how to print."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskd_client import AsyncDaskd

from .render.printer import Printer


@dataclass(frozen=True)
class Session:
    """One run of daskctl.

    Attributes
    ----------
    address
        The daemon's, as given; None: from the environment, Dask's configuration, or the local daemon's socket.
    printer
        Prints results and words.
    """

    address: str | None = None
    printer: Printer = field(default_factory=Printer)

    def connect(self) -> AsyncDaskd:
        """A client of the daemon, to be used as an async context manager; connects when first used."""
        return AsyncDaskd(self.address)
