"""The node's rules that need no process: pace, words, the report's bound."""

from __future__ import annotations

import json

import pytest

from daskd.runtime.nanny import Pace, cause_in_words, exit_in_words
from daskd.runtime.report import Report, encode_report, read_report, scheduler_address, write_report


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_replacements_wait_longer_each_time() -> None:
    """A nanny that closes unasked again and again is replaced after 1 s, doubling to 30 s."""
    pace = Pace(Clock())
    assert [pace.ended(in_place=False) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_first_restart_in_place_is_immediate() -> None:
    """A nanny restarts its worker at once, and only one that dies again and again waits."""
    pace = Pace(Clock())
    assert [pace.ended(in_place=True) for _ in range(5)] == [0, 1, 2, 4, 8]


@pytest.mark.parametrize(("lived", "delay"), [(59.0, 4.0), (60.0, 1.0)])
def test_a_minute_of_life_resets_the_pace(lived: float, delay: float) -> None:
    """Only a worker that lived for 60 s is taken for healthy."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(2):
        pace.ended(in_place=False)
    pace.started()
    clock.now += lived
    assert pace.ended(in_place=False) == delay


def test_a_start_that_failed_is_no_life() -> None:
    """Time passing without a running worker resets nothing."""
    clock = Clock()
    pace = Pace(clock)
    pace.started()
    pace.ended(in_place=False)
    clock.now += 3600
    assert pace.ended(in_place=False) == 2


def test_cause_is_the_innermost_that_speaks() -> None:
    """Of nested errors the words are those of the innermost that has any."""
    outer = RuntimeError("Nanny failed to start.")
    outer.__cause__ = NotADirectoryError(20, "Not a directory", "/x/y")
    outer.__cause__.__cause__ = TimeoutError()
    assert cause_in_words(outer) == "NotADirectoryError: [Errno 20] Not a directory: '/x/y'"
    assert cause_in_words(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "was killed by signal 9"), (3, "exited with code 3"), (255, "ended in an unknown way")],
)
def test_exit_codes_are_words(code: int, words: str) -> None:
    """multiprocessing's exit codes are told as what they mean."""
    assert exit_in_words(code) == words


@pytest.mark.parametrize("letter", ["x", "ä", "😀", '"', "\n"])
def test_report_never_exceeds_a_kibibyte(letter: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """However long and in whatever script the words are, the report fits, is valid, and uses the room."""
    report = Report("i-1", "failed", address="tls://127.0.0.1:1", failure=letter * 5000)
    text = encode_report(report, 2**22, 1795544680.123)
    assert 1000 < len(text) <= 1024
    assert json.loads(text)["failure"].startswith(letter * 50)
    write_report(tmp_path, report)
    read = read_report(tmp_path / "report.json")
    assert read is not None
    assert (read.instance, read.phase, read.address) == ("i-1", "failed", "tls://127.0.0.1:1")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "phase": "up"}', "x" * 2000])
def test_damaged_report_is_no_address(text: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A report that can't be understood is told as that, and gives no address."""
    path = tmp_path / "report.json"
    path.write_text(text)
    address, words = scheduler_address(path)
    assert address is None
    assert "can't be read" in words
