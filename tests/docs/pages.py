"""The documentation as the tests read it: tables, fenced blocks, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

_FENCE = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")


def page(name: str) -> str:
    """The text of a page of `docs/`."""
    return (ROOT / "docs" / name).read_text("utf-8")


def every_page() -> dict[str, str]:
    """README and all pages, by their path from the root."""
    paths = [README, *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths}


def blocks(text: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, such as "python"."""
    return [match["body"] for match in _FENCE.finditer(text) if match["kind"] == kind]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"there is no section {heading!r}"
    return rest.partition("\n## ")[0]


def tour() -> str:
    """README's tour."""
    text = README.read_text("utf-8")
    return text.partition("<!-- tour -->")[2].partition("<!-- /tour -->")[0]


def table(text: str, first_column: str) -> list[dict[str, str]]:
    """The rows of the first table whose first column is called that, by column; code marks are taken off."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        cells = [_plain(cell) for cell in _CELL.split(line)[1:-1]] if line.startswith("|") else []
        if rows and not cells:
            break
        if rows or (cells and cells[0] == first_column):
            rows.append(cells)
    assert rows, f"there is no table with a column {first_column!r}"
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def commands(text: str, program: str) -> Iterator[str]:
    """The command lines of a program: those in blocks, indented or fenced, and those in `code` marks."""
    for match in re.finditer(rf"(?:^    |^\$ |`)({program}(?: [^`\n]*)?)", text, re.MULTILINE):
        yield match[1].strip()


def _plain(cell: str) -> str:
    return cell.replace("\\|", "|").strip().strip("`")
