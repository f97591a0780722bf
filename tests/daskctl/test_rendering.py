"""The two renderings: for a terminal, and for a pipe."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest
import yaml

from daskctl.render import amounts, clusters, events, logs, lost, moments, offers, previews, workers
from daskctl.render.printer import Format, Printer
from daskd_client.preview import GroupPreview, Preview
from daskd_client.types import (
    AdaptivePolicy,
    AdaptiveStatus,
    Cluster,
    ClusterSpec,
    DaemonInfo,
    Driver,
    Event,
    ExitStatus,
    HeldWork,
    HeldWorkSummary,
    LogLine,
    Phase,
    Profile,
    SchedulerStatus,
    UnplaceableTasks,
    Worker,
    WorkerGroupStatus,
    WorkerState,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
THEN = NOW - timedelta(minutes=2, seconds=5)
ETL = Cluster(
    uid="c1",
    name="etl",
    owner="ann",
    phase=Phase.RUNNING,
    create_time=THEN,
    scheduler=SchedulerStatus(
        address="tls://127.0.0.1:41234",
        dashboard_link="http://127.0.0.1:8787/status",
        host="h1",
        pid=77,
        versions={"dask": "2026.8.0"},
        last_heard_time=NOW,
    ),
    groups=(
        WorkerGroupStatus(
            "default",
            "local",
            desired=4,
            running=3,
            pending=1,
            nthreads=2,
            memory_limit_bytes=1 << 32,
            adaptive=AdaptiveStatus(AdaptivePolicy(minimum=1, maximum=8), 4, reason="12 tasks", decision_time=THEN),
        ),
        WorkerGroupStatus("highmem", "slurm", desired=1, nthreads=1, message="the queue is full"),
    ),
    unplaceable_tasks=(UnplaceableTasks(3, "GPU=1", message="3 tasks need GPU=1: no group has it"),),
    held_work=HeldWorkSummary(clients=1, keys=17, bytes=2048),
)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 160 columns that knows colours, whatever the tests run in."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")


def _terminal(kind: Format = Format.TABLE) -> Printer:
    return Printer(kind, Terminal(), Terminal(), lambda: NOW)


def _pipe(kind: Format = Format.TABLE) -> Printer:
    return Printer(kind, io.StringIO(), io.StringIO(), lambda: NOW)


def _out(printer: Printer) -> str:
    assert isinstance(printer.out, io.StringIO)
    return printer.out.getvalue()


def _err(printer: Printer) -> str:
    assert isinstance(printer.err, io.StringIO)
    return printer.err.getvalue()


def test_a_terminal_has_header_colours_and_relative_times() -> None:
    """What a person reads at a glance."""
    printer = _terminal()
    printer.rows("clusters", [ETL], clusters.ROW, nothing="")
    header, row = _out(printer).rstrip().split("\n")
    assert "NAME" in header
    assert "\x1b[32mRUNNING" in row
    assert "2m 5s ago" in row
    assert "c1" not in row


def test_a_narrow_terminal_cuts_no_name_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and addresses are there to be copied; words go over several lines."""
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-name-of-a-cluster-longer-than-the-terminal-is-wide"
    printer = _terminal()
    words = "one two three four five six seven eight nine ten"
    printer.rows("clusters", [Cluster(name=name, message=words)], clusters.ROW, nothing="")
    assert name in _out(printer)
    assert re.search(r"one two [^\n]*\n *[a-z][^\n]* ten", _out(printer))


def test_a_column_in_which_no_row_says_anything_is_not_shown() -> None:
    """A pipe has it, for its columns are counted."""
    printer = _terminal()
    printer.rows("clusters", [Cluster(name="etl")], clusters.ROW, nothing="")
    assert "ADAPTIVE" not in _out(printer)
    assert "NAME" in _out(printer)


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal without colours still has header and relative times."""
    monkeypatch.setenv("NO_COLOR", "1")
    printer = _terminal()
    printer.rows("clusters", [ETL], clusters.ROW, nothing="")
    assert "\x1b[3" not in _out(printer)
    assert "2m 5s ago" in _out(printer)


def test_a_pipe_has_bare_tab_separated_fields_and_absolute_times() -> None:
    """One line a thing, nothing to strip, every column there."""
    printer = _pipe()
    printer.rows("clusters", [ETL, Cluster(uid="c2", name="b")], clusters.ROW, nothing="")
    first, second = (line.split("\t") for line in _out(printer).splitlines())
    assert first == [
        "etl",
        "ann",
        "RUNNING",
        "3/5",
        "1..8",
        "local,slurm",
        "2026-03-01T11:57:55Z",
        "c1",
        "highmem: the queue is full",
    ]
    assert len(second) == len(first)


def test_words_from_outside_can_neither_drive_a_terminal_nor_split_a_line() -> None:
    """A message is other people's text."""
    evil = Cluster(name="etl", message="a\x1b]0;title\x07\tb\nc\x9bd")
    for printer in (_pipe(), _terminal()):
        printer.rows("clusters", [evil], clusters.ROW, nothing="")
        assert "]0;title b c d" in _out(printer)
        assert not any(control in _out(printer) for control in ("\x07", "\x9b", "\x1b]", "\tb"))


@pytest.mark.parametrize("kind", [Format.JSON, Format.YAML])
def test_a_list_is_one_document_with_its_items_under_their_name(kind: Format) -> None:
    """JSON and YAML hold the same."""
    printer = _pipe(kind)
    printer.rows("clusters", [ETL], clusters.ROW, nothing="none")
    read = yaml.safe_load(_out(printer)) if kind is Format.YAML else json.loads(_out(printer))
    assert [(item["name"], item["phase"], item["groups"][0]["memory_limit_bytes"]) for item in read["clusters"]] == [
        ("etl", "PHASE_RUNNING", 1 << 32)
    ]


def test_nothing_found_is_an_empty_document() -> None:
    """A program needs no special case."""
    printer = _terminal(Format.JSON)
    printer.rows("clusters", [], clusters.ROW, nothing="No clusters.")
    assert json.loads(_out(printer)) == {"clusters": []}
    assert _err(printer) == ""


def test_nothing_found_is_said_on_stderr_of_a_terminal_only() -> None:
    """A pipe gets nothing for nothing."""
    told, silent = _terminal(), _pipe()
    for printer in (told, silent):
        printer.rows("clusters", [], clusters.ROW, nothing="No clusters.")
        assert _out(printer) == ""
    assert _err(told) == "No clusters.\n"
    assert _err(silent) == ""


def test_a_cluster_at_length_tells_what_is_there_and_leaves_out_what_is_not() -> None:
    """Groups, policy, lost work and scheduler, each on a line."""
    printer = _pipe()
    printer.facts(ETL, partial(clusters.facts, ETL))
    facts = dict(line.split("\t") for line in _out(printer).splitlines())
    assert facts["group default"] == "3/4 workers, 1 on their way, 2 threads and 4 GiB each, driver local"
    assert facts["group highmem"].endswith("1 thread and no memory limit each, driver slurm: the queue is full")
    assert facts["adaptive"] == "1..8 workers, wants 4"
    assert facts["cannot run"] == "3 tasks need GPU=1: no group has it"
    assert facts["decision"] == "12 tasks (2026-03-01T11:57:55Z)"
    assert facts["lost work"] == "17 keys, 2 KiB, lost clients: 1"
    assert facts["process"] == "77 on h1"
    assert not {"ended", "idle since", "restarts", "message"} & set(facts)


def test_a_cluster_at_length_on_a_terminal_tells_where_to_go_on() -> None:
    """Relative times, and the command that shows what lost clients left."""
    printer = _terminal()
    printer.facts(ETL, partial(clusters.facts, ETL))
    assert "2m 5s ago" in _out(printer)
    assert "daskctl lost etl" in _out(printer)


def test_a_cluster_with_a_lifetime_shows_when_it_ends() -> None:
    """While it lives, how far ahead that is; no longer once it has ended."""
    ends = NOW + timedelta(hours=1)
    living = dict(clusters.facts(replace(ETL, expire_time=ends), NOW))
    assert living["ends"].terminal == "in 1h"
    ended = dict(clusters.facts(replace(ETL, expire_time=ends, end_time=NOW), NOW))
    assert "ends" not in ended


def test_an_ended_cluster_shows_the_uid_that_reaches_it() -> None:
    """A live one is reached by its name."""
    printer = _terminal()
    ended = Cluster(uid="uid-of-ended", name="old", phase=Phase.STOPPED, end_time=THEN)
    printer.rows("clusters", [Cluster(uid="uid-of-live", name="etl"), ended], clusters.ROW_WITH_UID, nothing="")
    assert "uid-of-ended" in _out(printer)
    assert "uid-of-live" not in _out(printer)


def test_workers_show_their_memory_and_how_they_ended() -> None:
    """In bytes for programs, in units for people."""
    worker = Worker(
        name="etl-0",
        state=WorkerState.ENDED,
        memory_bytes=1 << 20,
        memory_limit_bytes=1 << 30,
        exit=ExitStatus("out_of_memory", message="killed by the kernel: out of memory"),
    )
    pipe, terminal = _pipe(), _terminal()
    for printer in (pipe, terminal):
        printer.rows("workers", [worker], workers.ROW, nothing="")
        assert "killed by the kernel: out of memory" in _out(printer)
    assert "\t1048576/1073741824\t" in _out(pipe)
    assert "1 MiB / 1 GiB" in _out(terminal)


def test_a_worker_whose_time_is_bounded_shows_its_end() -> None:
    """A moment to come for people, a time for programs; where none is bounded there is no such column for people."""
    bounded = Worker(name="sim-0", expected_end_time=NOW + timedelta(hours=2))
    pipe, terminal = _pipe(), _terminal()
    for printer in (pipe, terminal):
        printer.rows("workers", [bounded], workers.ROW, nothing="")
    assert "\t2026-03-01T14:00:00Z\t" in _out(pipe)
    assert "in 2h" in _out(terminal)
    other = _terminal()
    other.rows("workers", [replace(bounded, expected_end_time=None)], workers.ROW, nothing="")
    assert "ENDS" in _out(terminal)
    assert "ENDS" not in _out(other)


def test_lost_work_shows_when_it_will_be_let_go() -> None:
    """A moment to come."""
    work = HeldWork("Client-1", THEN, NOW + timedelta(hours=23), keys=3, bytes=5, states={"memory": 2, "erred": 1})
    pipe, terminal = _pipe(), _terminal()
    for printer in (pipe, terminal):
        printer.rows("held_work", [work], lost.ROW, nothing="")
        assert "1 erred, 2 memory" in _out(printer)
    assert "\t2026-03-02T11:00:00Z\t" in _out(pipe)
    assert "in 23h" in _out(terminal)


def test_drivers_and_profiles_show_what_they_take() -> None:
    """Names of options, defaults as paths, whether one can use it and why not."""
    printer = _pipe()
    schema = {"properties": {"queue": {}, "walltime": {}}}
    printer.rows("drivers", [Driver("slurm", "Slurm", schema, False, "no sbatch")], offers.DRIVER_ROW, nothing="")
    printer.rows("profiles", [Profile("gpu", "", {"worker": {"nthreads": 2}}, 8)], offers.PROFILE_ROW, nothing="")
    assert _out(printer).splitlines() == ["slurm\tno\tqueue walltime\tSlurm\tno sbatch", "gpu\t8\tworker.nthreads=2\t"]


def test_the_daemon_says_whom_it_takes_one_for() -> None:
    """And where it listens."""
    printer = _pipe()
    info = DaemonInfo("0.1.0", user="ann", listen_addresses=("unix:/run/daskd/daskd.sock", "127.0.0.1:8785"))
    printer.facts(info, partial(offers.daemon_facts, info))
    facts = dict(line.split("\t") for line in _out(printer).splitlines())
    assert facts["you are"] == "ann"
    assert facts["listens at"] == "unix:/run/daskd/daskd.sock, 127.0.0.1:8785"


LINE = LogLine(THEN, "i1", "default", ("etl-0", "etl-1"), "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2Jtab\there")


async def _lines() -> AsyncIterator[LogLine]:
    yield LINE
    yield LogLine(THEN, "i0", "scheduler", (), "listening")


async def test_a_log_in_a_pipe_keeps_its_text_as_it_was_written() -> None:
    """Time and source before it, tab-separated."""
    printer = _pipe()
    await printer.stream("lines", _lines(), logs.LINE, endless=False)
    assert _out(printer) == (
        f"2026-03-01T11:57:55Z\tetl-0,etl-1\t{LINE.text}\n2026-03-01T11:57:55Z\tscheduler\tlistening\n"
    )


async def test_a_log_on_a_terminal_keeps_its_colours_and_nothing_that_drives_the_terminal() -> None:
    """A log is text of whoever wrote it."""
    printer = _terminal()
    await printer.stream("lines", _lines(), logs.LINE, endless=True)
    assert "\x1b[31mred" in _out(printer)
    assert "\x1b]0" not in _out(printer)
    assert "\x1b[2J" not in _out(printer)
    assert "\x07" not in _out(printer)


async def test_a_log_is_one_document_and_one_a_line_while_it_is_followed() -> None:
    """What has no end can't be one document."""
    whole, followed = _pipe(Format.JSON), _pipe(Format.JSON)
    await whole.stream("lines", _lines(), logs.LINE, endless=False)
    await followed.stream("lines", _lines(), logs.LINE, endless=True)
    assert json.loads(_out(whole))["lines"] == [json.loads(line) for line in _out(followed).splitlines()]
    assert json.loads(_out(whole))["lines"][1]["text"] == "listening"


async def test_a_followed_log_as_yaml_is_a_stream_of_documents() -> None:
    """With separators between them."""
    printer = _pipe(Format.YAML)
    await printer.stream("lines", _lines(), logs.LINE, endless=True)
    assert [line["source"] for line in yaml.safe_load_all(_out(printer))] == ["default", "scheduler"]


def test_an_event_in_a_pipe_has_the_fields_of_the_table() -> None:
    """Whether it was listed or followed."""
    event = Event(7, THEN, type="SCALED", actor="ann", message="4 workers")
    printer = _pipe()
    printer.rows("events", [event], events.ROW, nothing="")
    assert _out(printer) == events.LINE.pipe(event) + "\n"
    assert events.LINE.terminal(event).plain.endswith("SCALED 4 workers (by ann)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (125, "2m 5s"), (3600, "1h"), (7500, "2h 5m"), (90061, "1d 1h")],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    """Less than a second, and a clock that is behind, is no time."""
    assert moments.span(seconds) == words


def test_an_absolute_time_is_rfc_3339_in_utc() -> None:
    """Wherever it was told."""
    local = datetime(2026, 3, 1, 14, 0, 0, 250000, tzinfo=timezone(timedelta(hours=2)))
    assert moments.absolute(local) == "2026-03-01T12:00:00.25Z"
    assert moments.until(NOW - timedelta(seconds=1), NOW) == "now"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (1 << 32, "4 GiB"), (1 << 60, "1024 PiB")]
)
def test_bytes_are_told_in_the_unit_that_keeps_them_readable(count: int, words: str) -> None:
    """Binary units, as Dask's."""
    assert amounts.size(count) == words


def test_progress_is_shown_on_a_terminal_only() -> None:
    """A log of a job holds no spinner."""
    told, silent = _terminal(), _pipe()
    for printer in (told, silent):
        with printer.progress("Waiting until etl runs") as show:
            show("2/4 workers")
    assert "2/4 workers" in _err(told)
    assert _err(silent) == ""
    assert _out(told) == ""


def test_a_dashboard_behind_a_login_is_told_by_the_command_that_opens_it() -> None:
    """`get` names the link where there is one, the command where a login comes first, nothing without a dashboard."""

    def told(cluster: Cluster) -> str:
        return dict(clusters.facts(cluster, NOW))["dashboard"].text().plain

    assert told(ETL) == "http://127.0.0.1:8787/status"
    assert ETL.scheduler is not None
    behind = replace(ETL, scheduler=replace(ETL.scheduler, dashboard_link=""), spec=ClusterSpec(dashboard=True))
    assert told(behind) == "behind a login (see: daskctl dashboard etl)"
    assert "login" not in told(replace(behind, spec=ClusterSpec(dashboard=False)))


def test_a_dry_run_shows_command_and_script() -> None:
    """Below the cluster, a group after the other, as they would be submitted; none where nothing is submitted."""
    jobs = GroupPreview("jobs", "slurm", 2, 8, "sbatch --parsable", 2, "#!/bin/sh\n#SBATCH --time=0-01:00:00\n")
    preview = Preview(Cluster(name="etl"), (jobs, GroupPreview("here", "local", 1, 1)))
    printer = _pipe()
    previews.show(preview, printer)
    lines = _out(printer).splitlines()
    assert lines[lines.index("") :] == [
        "",
        "# group jobs, driver slurm: 2 jobs, 8 workers",
        "# the first of 2 submissions:",
        "$ sbatch --parsable",
        "#!/bin/sh",
        "#SBATCH --time=0-01:00:00",
    ]
    printer = _pipe(Format.JSON)
    previews.show(preview, printer)
    document = json.loads(_out(printer))
    assert document["name"] == "etl"
    assert [each["script"] for each in document["previews"]] == [jobs.script, ""]
