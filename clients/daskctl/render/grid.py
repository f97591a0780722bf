"""Rows as a table exactly as wide as a screen, each row on one line, to be drawn again and again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from .table import Column, Row, says_something

_GAP = 2
_NARROWEST = 12  # characters, of words that are worth showing


def grid(
    rows: Sequence[Row], columns: Sequence[Column[Row]], now: datetime, width: int, cursor: int | None
) -> list[Text]:
    """The header's line, and each row's.

    Parameters
    ----------
    columns
        The most important first: those that the width has no room for are left out from the last. What wraps
        elsewhere is cut here.
    cursor
        The row to be marked, if any.
    """
    told = ((column, [column.cell(row, now).text() for row in rows]) for column in columns if not column.pipe_only)
    # counts stay where they are whatever they say; words make room for others
    shown = [(column, texts) for column, texts in told if not column.wraps or any(map(says_something, texts))]
    table = [[Text(column.header, "bold"), *texts] for column, texts in shown]
    natural = [max(text.cell_len for text in texts) for texts in table]
    widths = fitted(natural, [column.wraps for column, _ in shown], width)
    lines = []
    for number in range(len(rows) + 1):
        cells = [
            _cell(texts[number], own, column.right)
            for own, texts, (column, _) in zip(widths, table, shown, strict=False)
        ]
        line = Text(" " * _GAP).join(cells)
        line.truncate(width, pad=True)
        if number - 1 == cursor:
            line.stylize("reverse")
        lines.append(line)
    return lines


def _cell(text: Text, width: int, right: bool) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.align("right" if right else "left", width)
    return text


def fitted(natural: Sequence[int], flexible: Sequence[bool], width: int) -> list[int]:
    """Widths of as many of the columns, from the first, as fit side by side.

    Parameters
    ----------
    natural
        How wide each would be.
    flexible
        Whether it may be narrower, down to a least width of words.
    """
    least = [min(own, _NARROWEST) if may_shrink else own for own, may_shrink in zip(natural, flexible, strict=True)]
    widths: list[int] = []
    left = width
    for own in least:
        if widths and own > left:
            break
        widths.append(min(own, width))
        left -= own + _GAP
    spare = max(left + _GAP, 0)
    for index, own in enumerate(widths):
        grown = min(natural[index] - own, spare)
        if flexible[index] and grown > 0:
            widths[index] += grown
            spare -= grown
    return widths


def window(count: int, cursor: int, room: int) -> range:
    """Which of `count` rows to show where there is room for fewer: those around the cursor."""
    start = max(0, min(cursor - room // 2, count - room))
    return range(start, min(count, start + max(room, 0)))
