"""How lines of logs look."""

from __future__ import annotations

import re

from rich.text import Text

from daskd_client.types import LogLine

from . import moments
from .table import Line, fields, printable

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_CONTROL_BUT_COLOUR = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]")


def source(line: LogLine) -> str:
    """Whose line it is: "scheduler", or the workers' names."""
    return ",".join(line.workers) or line.source


def for_pipe(line: LogLine) -> str:
    """Time, source and text, tab-separated; the text, which comes last, keeps its own tabs."""
    time = moments.absolute(line.time) if line.time else ""
    return f"{fields((time, source(line)))}\t{line.text}"


def for_terminal(line: LogLine) -> Text:
    """Local time of day, source in a colour of its own, and text with its colours but no other control sequence."""
    name = source(line)
    shown = Text()
    if line.time:
        shown.append(moments.time_of_day(line.time) + " ", "dim")
    shown.append(f"{printable(name)} ", _COLOURS[sum(map(ord, name)) % len(_COLOURS)])
    shown.append_text(Text.from_ansi(_CONTROL_BUT_COLOUR.sub(" ", line.text)))
    return shown


LINE = Line(for_pipe, for_terminal)
"""One line of a log."""
