"""How it looks what was applied."""

from __future__ import annotations

from rich.text import Text

from daskd_client.types import Applied

from .table import Line, printable

NOTHING = "nothing to change"


def lines(applied: Applied) -> list[str]:
    """A line a change, each with the cluster's name."""
    return [printable(f"{applied.cluster.name}: {change}") for change in applied.changes or (NOTHING,)]


LINE: Line[Applied] = Line(lambda applied: "\n".join(lines(applied)), lambda applied: Text("\n".join(lines(applied))))
"""What changed of one cluster."""
