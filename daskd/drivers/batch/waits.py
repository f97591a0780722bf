"""What jobs wait for, in words, for systems that say it in a sentence of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daskd.drivers.protocol import Wait

Reasons = Sequence[tuple[re.Pattern[str], Wait]]
"""What sentences mean, in lower case; the first that is found counts."""

MOST_WORDS = 500

_TOLD = {
    Wait.RESOURCES: "waits for free nodes",
    Wait.PRIORITY: "waits for its turn in the queue",
    Wait.LIMIT: "waits for others to end, for a limit is reached",
    Wait.HELD: "is held, and waits to be released",
    Wait.LATER: "waits for its time, or for what it depends on",
    Wait.PREPARING: "waits for what is made ready for it",
    Wait.HOPELESS: "can never run as it was asked for",
}


def wait_of(reasons: Reasons, sentence: str, otherwise: Wait) -> Wait:
    """What a sentence means."""
    return next((wait for pattern, wait in reasons if pattern.search(sentence.lower())), otherwise)


def told(wait: Wait, system: str, sentence: str) -> str:
    """What a job waits for, the system's own sentence included."""
    return f"{_TOLD[wait]}{said(system, sentence)}"


def said(system: str, sentence: str) -> str:
    """A system's own sentence, to stand behind ours; nothing where it says nothing."""
    return f" ({system} says: {sentence[:MOST_WORDS]})" if sentence else ""
