"""How long to wait after a failure."""

from __future__ import annotations

import hashlib

FIRST = 1.0
MOST = 60.0


def delay(failures: int, key: str) -> float:
    """Seconds to wait after that many failures in a row: 1 doubling to 60, less up to a quarter.

    The jitter comes from the key and the count, so that a restarted daemon reckons the same and two clusters do
    not retry in step.
    """
    full: float = min(MOST, FIRST * 2.0 ** max(0, min(failures, 16) - 1))
    digest = hashlib.blake2b(f"{key}:{failures}".encode(), digest_size=4).digest()
    return full * (1 - 0.25 * int.from_bytes(digest, "big") / 0xFFFFFFFF)
