"""What a user sees while a cluster starts, and in its logs."""

from __future__ import annotations

import io
from datetime import datetime, timezone

import pytest

from daskd_client import progress
from daskd_client.adaptive import RemoteAdaptive
from daskd_client.logs import by_worker, event_line
from daskd_client.progress import Silent, TerminalLine, describe, make_progress
from daskd_client.types import AdaptivePolicy, Cluster, Event, LogLine, Phase, Worker, WorkerGroupStatus

STARTING = Cluster(name="etl", phase=Phase.STARTING, groups=(WorkerGroupStatus(desired=4, running=1),))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_start_is_told_on_one_line() -> None:
    """The line has the phase, how many workers there are, and what hinders, without line breaks."""
    assert describe(STARTING) == "Cluster etl starts its scheduler, 1 of 4 workers"
    hindered = Cluster(name="etl", phase=Phase.PENDING, groups=(WorkerGroupStatus(message="queue\nis full"),))
    assert describe(hindered) == "Cluster etl waits to be started: queue is full"


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_words(phase: Phase) -> None:
    """No phase, not one that this release does not know, breaks the line."""
    assert describe(Cluster(name="etl", phase=phase)).startswith("Cluster etl ")


def test_the_terminals_line_is_written_over_and_wiped() -> None:
    """On a terminal one line is renewed in place, fits, and is gone in the end."""
    stream = Terminal()
    line = TerminalLine(stream, width=20)
    line.show(STARTING)
    line.done()
    assert stream.getvalue() == "\r\x1b[KCluster etl starts i\r\x1b[K"


def test_a_terminal_that_went_away_is_no_error() -> None:
    """Nothing is raised where the line can't be written."""
    stream = Terminal()
    line = TerminalLine(stream)
    stream.close()
    line.show(STARTING)
    line.done()


def test_progress_is_shown_where_somebody_looks() -> None:
    """By default a terminal is written to, and a file or pipe is not; True and False overrule."""
    assert type(make_progress("auto", Terminal())) is TerminalLine
    assert type(make_progress("auto", io.StringIO())) is Silent
    assert type(make_progress(True, io.StringIO())) is TerminalLine
    assert type(make_progress(False, Terminal())) is Silent
    assert progress._notebook_display() is None


def test_workers_logs_stand_under_their_addresses() -> None:
    """A log's lines stand under each of its workers' addresses, or its name while it has none."""
    lines = [LogLine(workers=("a", "b"), text="1"), LogLine(workers=("a",), text="2"), LogLine(instance="i", text="3")]
    workers = [Worker(name="a", address="tls://1"), Worker(name="b")]
    assert by_worker(lines, workers, None) == {"tls://1": "1\n2", "b": "1", "i": "3"}
    assert by_worker(lines, workers, {"tls://1"}) == {"tls://1": "1\n2"}
    assert by_worker(lines, workers, {"b"}) == {"b": "1"}


def test_an_event_is_a_line() -> None:
    """An event's line has its time, actor, type and words."""
    event = Event(time=datetime(2026, 1, 2, tzinfo=timezone.utc), actor="ann", type="SCALED", message="2 to 3")
    assert event_line(event) == "2026-01-02T00:00:00.000+00:00 ann: SCALED 2 to 3"


def test_an_adaptive_policy_without_bounds_has_dasks_own() -> None:
    """As in Dask, no minimum is 0 and no maximum is infinite."""
    adaptive = RemoteAdaptive(AdaptivePolicy())
    assert (adaptive.minimum, adaptive.maximum) == (0, float("inf"))
