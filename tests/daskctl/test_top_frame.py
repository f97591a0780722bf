"""A frame of `daskctl top`: what is known, laid out in lines, for screens of all sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from rich.text import Text

from daskctl.render.grid import fitted, grid, window
from daskctl.render.table import Cell, Column
from daskctl.render.top import frame, room_for_rows, with_bar
from daskctl.top.picture import Picture, load_of
from daskctl.top.view import View
from daskd_client.types import (
    AdaptivePolicy,
    AdaptiveStatus,
    Change,
    Cluster,
    DaemonInfo,
    Event,
    Phase,
    WatchKind,
    Worker,
    WorkerGroupStatus,
    WorkerState,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
GIB = 1 << 30
ETL = Cluster(
    uid="c1",
    name="etl",
    owner="ann",
    phase=Phase.RUNNING,
    groups=(
        WorkerGroupStatus(
            "default",
            "local",
            desired=4,
            running=2,
            pending=1,
            adaptive=AdaptiveStatus(AdaptivePolicy(minimum=1, maximum=8), target=4, reason="12 tasks wait"),
        ),
    ),
    idle_since=NOW - timedelta(seconds=125),
)
STUCK = Cluster(
    uid="c2",
    name="sim",
    owner="bob",
    phase=Phase.STARTING,
    groups=(WorkerGroupStatus("default", "slurm", desired=1, message="the queue is full"),),
)
WORKERS = (
    Worker("default-0", "default", "i0", state=WorkerState.RUNNING, host="h1", nthreads=2, memory_bytes=GIB,
           memory_limit_bytes=4 * GIB, processing=3, executing=2),
    Worker("default-1", "default", "i1", state=WorkerState.PAUSED, host="h2", nthreads=2, memory_bytes=3 * GIB,
           memory_limit_bytes=4 * GIB, message="paused: too much memory in use"),
    Worker("default-2", "default", "i2", state=WorkerState.STARTING, nthreads=2, memory_limit_bytes=4 * GIB),
)  # fmt: skip


def picture_of(*clusters: Cluster) -> Picture:
    """A picture that a watch has told these clusters, with ETL's workers."""
    picture = Picture(DaemonInfo(user="ann", hostname="h1"), NOW)
    for cluster in clusters:
        picture.absorb(Change(WatchKind.EXISTING, cluster))
    picture.absorb(Change(WatchKind.SYNCED))
    picture.workers["c1"] = WORKERS
    return picture


def lines(picture: Picture, view: View, width: int = 160, height: int = 24, now: datetime = NOW) -> list[str]:
    """What a screen of that size shows."""
    shown = frame(picture, view, now, width, height).renderables
    assert all(isinstance(line, Text) for line in shown)
    return [line.plain.rstrip() for line in shown if isinstance(line, Text)]


def row(shown: list[str], first: str) -> dict[str, str]:
    """The cells of the row that begins with that word, by their column's header."""
    header = next(line for line in shown if line.startswith("NAME"))
    line = next(line for line in shown if line.split()[:1] == [first])
    names = header.split()
    # a bar has spaces of its own
    line = re.sub(r"\[(\|*) *\] ", r"[\1] ", line)
    values = re.split(r"\s{2,}", re.sub(r" (/|of) ", "/", line))
    return dict(zip(names, values, strict=True))


def test_a_cluster_shows_what_its_joined_workers_hold_and_do() -> None:
    """Workers that are on their way hold nothing yet."""
    told = row(lines(picture_of(ETL), View()), "etl")
    assert told == {
        "NAME": "etl",
        "OWNER": "ann",
        "PHASE": "RUNNING",
        "WORKERS": "2/4",
        "CORES": "4",
        "MEMORY": "4 GiB/8 GiB",
        "TASKS": "3",
        "PENDING": "1",
        "TARGET": "4/1..8",
        "IDLE": "2m 5s",
        "REASON": "12 tasks wait",
    }


def test_what_hinders_a_cluster_is_on_its_line() -> None:
    """In the words of its driver."""
    assert any("sim" in line and "the queue is full" in line for line in lines(picture_of(ETL, STUCK), View()))


def test_the_title_sums_up_what_is_listed() -> None:
    """And says whose daemon it is."""
    title = lines(picture_of(ETL, STUCK), View())[0]
    assert "ann at h1" in title
    assert title.endswith("2 clusters, 2 workers, 4 cores, 4 GiB, 3 tasks")


def test_an_opened_cluster_shows_its_workers_and_its_last_events() -> None:
    """Newest last; those that there is no room for are the oldest."""
    picture = picture_of(ETL)
    picture.add_history("c1", [Event(number, NOW, "c1", type=f"TYPE_{number}") for number in range(1, 30)])
    shown = lines(picture, View(opened="c1"))
    first = row(shown, "default-0")
    assert (first["STATE"], first["HOST"], first["THREADS"], first["TASKS"]) == ("RUNNING", "h1", "2", "3")
    assert (first["EXECUTING"], first["MEMORY"]) == ("2", "[||] 1 GiB/4 GiB")
    assert any("default-1" in line and line.endswith("paused: too much memory in use") for line in shown)
    told = [line.split()[1] for line in shown if "TYPE_" in line]
    assert told == [f"TYPE_{number}" for number in range(22, 30)]
    assert any("adaptive 1..8, wants 4: 12 tasks wait" in line for line in shown)


def test_a_silent_daemon_is_told_with_the_moment_of_its_last_answer() -> None:
    """What is shown is then the past; one whose answer is late by less than that is not called silent."""
    picture = picture_of(ETL)
    picture.asks(NOW)
    assert not any("does not answer" in line for line in lines(picture, View(), now=NOW + timedelta(seconds=1)))
    picture.asks(NOW + timedelta(seconds=64))  # the next try, after the first was given up
    shown = lines(picture, View(), now=NOW + timedelta(seconds=65))
    assert any("does not answer since" in line and "(1m 5s ago)" in line for line in shown)
    assert any("etl" in line for line in shown)
    picture.is_answered(NOW)
    assert not any("does not answer" in line for line in lines(picture, View(), now=NOW + timedelta(seconds=65)))


def test_before_the_first_answers_nothing_is_said_to_be_there_or_not() -> None:
    """That there is no cluster is told once that is known."""
    assert not any("No clusters" in line for line in lines(Picture(DaemonInfo(), NOW), View()))
    assert any("No clusters. Make one" in line for line in lines(picture_of(), View()))


def test_a_cluster_that_went_while_it_was_open_is_said_to_be_gone() -> None:
    """With the way back, where there is one."""
    assert any("Esc: back" in line for line in lines(picture_of(), View(opened="c1")))
    assert not any("Esc" in line for line in lines(picture_of(), View(opened="c1", is_fixed=True)))


def test_help_explains_the_keys() -> None:
    """In place of the list."""
    shown = lines(picture_of(ETL), View(helps=True))
    assert any("quit" in line for line in shown)
    assert not any("etl" in line for line in shown)


@pytest.mark.parametrize("view", [View(), View(opened="c1"), View(opened="gone"), View(helps=True)])
@pytest.mark.parametrize("size", [(1, 1), (20, 3), (40, 6), (80, 12), (200, 60)])
def test_a_frame_has_the_screens_size_whatever_that_is(view: View, size: tuple[int, int]) -> None:
    """Neither too much nor a row that goes over two lines."""
    width, height = size
    picture = picture_of(ETL, STUCK)
    picture.add_history("c1", [Event(number, NOW, "c1", type="SCALED", message="long " * 60) for number in range(40)])
    shown = lines(picture, view, width, height)
    assert len(shown) == height
    body = [line for line in frame(picture, view, NOW, width, height).renderables if isinstance(line, Text)]
    assert all(line.no_wrap for line in body)


@pytest.mark.parametrize("cursor", [0, 20, 49])
def test_the_cursors_row_is_on_the_screen(cursor: int) -> None:
    """However long the list; it is marked."""
    clusters = [replace(STUCK, uid=f"u{number}", name=f"c{number:02}") for number in range(50)]
    picture, view = picture_of(*clusters), View(cluster=f"u{cursor}")
    marked = [
        line.plain.split()[0]
        for line in frame(picture, view, NOW, 80, 12).renderables
        if isinstance(line, Text) and any(span.style == "reverse" for span in line.spans)
    ]
    assert marked == [f"c{cursor:02}"]
    listed = [line for line in lines(picture, view, 80, 12) if "STARTING" in line]
    assert len(listed) == room_for_rows(picture, view, 12)


def test_words_from_outside_cannot_drive_the_terminal() -> None:
    """Messages, reasons and names are other people's text."""
    evil = "a\x1b]0;title\x07\nb"
    group = WorkerGroupStatus(evil, adaptive=AdaptiveStatus(AdaptivePolicy(), 1, evil))
    picture = picture_of(replace(ETL, message=evil, groups=(group, group)))
    picture.info = DaemonInfo(user=evil)
    picture.add_history("c1", [Event(1, NOW, "c1", type=evil, actor=evil, message=evil)])
    picture.workers["c1"] = (replace(WORKERS[0], message=evil),)
    for view in (View(), View(opened="c1")):
        assert not any(set("\x1b\x07\n") & set(line) for line in lines(picture, view))


@pytest.mark.parametrize(
    ("natural", "flexible", "width", "widths"),
    [
        ([4, 6], [False, False], 20, [4, 6]),
        ([4, 6], [False, False], 12, [4, 6]),
        ([4, 6], [False, False], 11, [4]),
        ([30], [False], 11, [11]),
        ([4, 30], [False, True], 20, [4, 14]),
        ([4, 30, 5], [False, True, False], 30, [4, 17, 5]),
        ([4, 30, 30], [False, True, True], 50, [4, 30, 12]),
        ([4, 30], [False, True], 17, [4]),
        ([4, 5], [False, True], 40, [4, 5]),
        ([4], [False], 0, [0]),
    ],
)
def test_columns_that_a_width_has_no_room_for_are_left_out_from_the_last(
    natural: list[int], flexible: list[bool], width: int, widths: list[int]
) -> None:
    """Words shrink before that, and have the room that is left."""
    assert fitted(natural, flexible, width) == widths


@pytest.mark.parametrize(
    ("count", "cursor", "room", "seen"),
    [
        (3, 0, 5, range(3)),
        (9, 0, 4, range(4)),
        (9, 4, 4, range(2, 6)),
        (9, 8, 4, range(5, 9)),
        (9, 8, 0, range(9, 9)),
        (0, 0, 4, range(0)),
    ],
)
def test_a_window_holds_the_rows_around_the_cursor(count: int, cursor: int, room: int, seen: range) -> None:
    """At either end of the list it stands still."""
    assert window(count, cursor, room) == seen


def test_a_grid_cuts_names_that_no_line_can_hold_and_keeps_numbers_to_the_right() -> None:
    """Each row is one line of the width, wide characters and all."""
    columns: tuple[Column[str], ...] = (
        Column("NAME", lambda word, _now: Cell(word)),
        Column("SIZE", lambda word, _now: Cell(str(len(word))), right=True),
    )
    shown = grid(["a", "漢字"], columns, NOW, 20, cursor=None)
    assert [line.plain.rstrip() for line in shown] == ["NAME  SIZE", "a        1", "漢字     2"]
    (_, cut) = grid(["x" * 50], columns, NOW, 10, cursor=None)
    assert cut.plain == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("used", "limit", "words", "style"),
    [
        (0, 10 * GIB, "[          ] 0 B / 10 GiB", "green"),
        (5 * GIB, 10 * GIB, "[|||||     ] 5 GiB / 10 GiB", "green"),
        (7 * GIB, 10 * GIB, "[|||||||   ] 7 GiB / 10 GiB", "yellow"),
        (8 * GIB, 10 * GIB, "[||||||||  ] 8 GiB / 10 GiB", "red"),
        (20 * GIB, 10 * GIB, "[||||||||||] 20 GiB / 10 GiB", "red"),
        (GIB, 0, "1 GiB / none", ""),
    ],
)
def test_memory_is_a_bar_in_the_colour_of_what_distributed_does_then(
    used: int, limit: int, words: str, style: str
) -> None:
    """It begins to spill at seven tenths of the limit, and pauses the worker at eight."""
    cell = with_bar(used, limit)
    assert (cell.terminal, cell.style, cell.pipe) == (words, style, f"{used}/{limit}")


def test_a_worker_without_a_limit_leaves_the_sum_without_one() -> None:
    """A share of part of them would mislead."""
    load = load_of(ETL, (*WORKERS, replace(WORKERS[0], memory_limit_bytes=0)))
    assert (load.memory_bytes, load.memory_limit_bytes) == (5 * GIB, 0)
