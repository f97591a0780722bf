"""Tasks that note their runs in a file, so that a test sees what was computed how often."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path


def noted(runs: str, x: int, seconds: float = 0.2) -> int:
    """2 x, after some seconds; a line in the file `runs` says that it ran."""
    with Path(runs).open("a", encoding="ascii") as file:
        file.write(f"{x}\n")
    time.sleep(seconds)
    return 2 * x


def counted(runs: Path) -> Counter[str]:
    """How often each ran."""
    return Counter(runs.read_text().split()) if runs.exists() else Counter()
