"""The exit codes of the scheduler's and the node's process, and the way to end with one."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Why a process of the runtime ended; the daemon and the drivers read it."""

    OK = 0
    FAILED = 1
    SPEC_DAMAGED = 80
    NO_DISTRIBUTED = 81
    NOT_REACHED = 82
    FENCED = 83
    TLS_REFUSED = 84
    SCHEDULER_GONE = 85
    INCOMPATIBLE = 86


WORDS = {
    ExitCode.OK: "told to end",
    ExitCode.FAILED: "failed",
    ExitCode.SPEC_DAMAGED: "the spec is damaged",
    ExitCode.NO_DISTRIBUTED: "distributed can't be imported",
    ExitCode.NOT_REACHED: "the scheduler was not reached",
    ExitCode.FENCED: "the scheduler refused this instance: it was given up or replaced",
    ExitCode.TLS_REFUSED: "TLS with the scheduler failed",
    ExitCode.SCHEDULER_GONE: "the scheduler is gone",
    ExitCode.INCOMPATIBLE: "this distributed and the scheduler's do not understand each other",
}


class Ended(Exception):
    """The process is to end with this code, and these words as its log's last line.

    Parameters
    ----------
    code : ExitCode
        Why, in a number.
    words : str, optional
        Why, in detail.
    """

    def __init__(self, code: ExitCode, words: str = "") -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def last_line(code: ExitCode, words: str = "") -> str:
    """The log's last line of a process that ends with `code`."""
    detail = f": {' '.join(words.split())}" if words else ""
    return f"daskd: ends with code {int(code)}, {WORDS[code]}{detail}"
