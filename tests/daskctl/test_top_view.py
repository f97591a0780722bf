"""What keys change about the view, and what answers of the daemon change about the picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from daskctl.top.keyboard import Decoder
from daskctl.top.picture import ENDED_STAY, MOST_EVENTS, Picture
from daskctl.top.view import CLUSTER_ORDERS, View, press, worker_id
from daskd_client.types import (
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
ROWS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        ("", "b"),
        ("down", "c"),
        ("j j j j", "d"),
        ("up", "a"),
        ("k k", "a"),
        ("G", "d"),
        ("end up", "c"),
        ("home", "a"),
        ("g", "a"),
        ("page-down", "d"),
        ("page-down page-up", "b"),
        ("x", "b"),
    ],
)
def test_keys_move_the_cursor_and_not_beyond_the_rows(keys: str, row: str) -> None:
    """By one, by a page of two, to either end."""
    view = View(cluster="b")
    for key in keys.split():
        view = press(view, key, ROWS, 2)
    assert ROWS[view.cursor(ROWS)] == row


def test_the_cursor_stays_on_its_row_when_others_come_and_go() -> None:
    """It is the row that is held, and not the place; a row that went leaves the first one."""
    view = press(View(), "down", ROWS, 2)
    assert view.cursor(["z", "y", "b"]) == 2
    assert view.cursor(["z", "y"]) == 0


def test_enter_opens_a_cluster_and_escape_leads_back() -> None:
    """The cursor is where it was; in a list of none there is nothing to open."""
    opened = press(View(cluster="b"), "enter", ROWS, 2)
    assert opened.opened == "b"
    assert press(opened, "enter", ["w"], 2) == opened
    assert press(press(opened, "down", ["v", "w"], 2), "escape", [], 2) == View(cluster="b")
    assert press(View(), "enter", [], 2) == View()


def test_a_cluster_that_was_asked_for_by_name_is_not_left() -> None:
    """There is no list to go back to."""
    view = View(opened="b", is_fixed=True)
    assert press(view, "escape", [], 2) == view


def test_help_ends_with_any_key_which_does_nothing_else() -> None:
    """But for q, which quits from everywhere."""
    helping = press(View(), "?", ROWS, 2)
    assert helping.helps
    assert press(helping, "down", ROWS, 2) == View()
    assert press(helping, "q", ROWS, 2).has_quit
    assert press(View(), "q", ROWS, 2).has_quit


def _cluster(name: str, running: int = 0, **fields: object) -> Cluster:
    group = WorkerGroupStatus("default", running=running)
    return replace(Cluster(uid=f"uid-{name}", name=name, phase=Phase.RUNNING, groups=(group,)), **fields)


def _worker(name: str, memory: int = 0, tasks: int = 0) -> Worker:
    return Worker(name, state=WorkerState.RUNNING, memory_bytes=memory, processing=tasks)


def _picture() -> Picture:
    picture = Picture(DaemonInfo(), NOW)
    for cluster in (_cluster("a", running=3), _cluster("b", running=1), _cluster("c", running=2)):
        picture.absorb(Change(WatchKind.EXISTING, cluster))
    picture.absorb(Change(WatchKind.SYNCED))
    picture.workers["uid-b"] = (_worker("w-10", memory=9, tasks=1), _worker("w-9", memory=1, tasks=4))
    picture.workers["uid-c"] = (_worker("w-0", memory=2, tasks=7),)
    return picture


def test_s_sorts_clusters_by_one_thing_after_the_other() -> None:
    """The most first; after the last the names again."""
    view, picture, seen = View(), _picture(), {}
    for order in CLUSTER_ORDERS:
        seen[order.name] = "".join(load.cluster.name for load in view.loads(picture))
        view = press(view, "s", view.rows(picture), 5)
    assert seen == {"name": "abc", "memory": "bca", "tasks": "cba", "workers": "acb"}
    assert view == View()


def test_s_sorts_workers_likewise() -> None:
    """Their numbers are counted, and not spelt."""
    view, picture, seen = View(opened="uid-b"), _picture(), []
    for _ in range(3):
        seen.append([worker.name for worker in view.workers(picture)])
        view = press(view, "s", view.rows(picture), 5)
    assert seen == [["w-9", "w-10"], ["w-10", "w-9"], ["w-9", "w-10"]]
    assert view.rows(picture) == [worker_id(worker) for worker in view.workers(picture)]


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"q", ["q"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page-up", "page-down", "home", "end"]),
        (b"\x1b[1;5Cj", ["j"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x1bq", ["escape", "q"]),
        ("é".encode(), ["é"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_what_a_terminal_sends_is_keys_however_it_is_cut(sent: bytes, keys: list[str]) -> None:
    """All at once, and byte by byte."""
    whole, pieces = Decoder(), Decoder()
    assert whole.feed(sent) == keys
    assert [key for byte in sent for key in pieces.feed(bytes([byte]))] == keys
    assert not whole.is_within
    assert not pieces.is_within


def test_escape_is_told_from_the_beginning_of_another_key_by_what_follows() -> None:
    """When nothing does, it was Escape; the beginning of a sequence that never ends was none."""
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.is_within
    assert decoder.flush() == ["escape"]
    assert decoder.feed(b"\x1b[") == []
    assert decoder.flush() == []
    assert decoder.feed(b"j") == ["j"]


def test_a_watch_that_begins_anew_ends_what_it_does_not_tell_of() -> None:
    """Those clusters went while nobody was told; histories are read again, for they have what was missed."""
    picture = _picture()
    picture.add_history("uid-b", [])
    picture.absorb(Change(WatchKind.EXISTING, _cluster("b", running=5)))
    assert set(picture.clusters) == {"uid-a", "uid-b", "uid-c"}
    picture.absorb(Change(WatchKind.SYNCED))
    assert set(picture.clusters) == {"uid-b"}
    assert picture.clusters["uid-b"].groups[0].running == 5
    assert picture.with_history == set()


def test_events_are_told_once_and_in_order_wherever_they_come_from() -> None:
    """The history and the watch overlap; of a long history the end is kept."""
    picture = _picture()
    event = Event(7, NOW, "uid-b", type="SCALED")
    picture.absorb(Change(WatchKind.CHANGED, _cluster("b"), event))
    picture.add_history("uid-b", [Event(3, NOW, "uid-b", type="CREATED"), event])
    assert [told.revision for told in picture.events("uid-b")] == [3, 7]
    picture.add_history("uid-b", [Event(number, NOW, "uid-b") for number in range(1000)])
    assert [told.revision for told in picture.events("uid-b")] == list(range(1000 - MOST_EVENTS, 1000))


def test_an_ended_cluster_is_shown_for_a_while_and_while_it_is_looked_at() -> None:
    """Somebody may want to read why it ended."""
    picture = _picture()
    picture.absorb(Change(WatchKind.CHANGED, _cluster("b", phase=Phase.FAILED, end_time=NOW)))
    picture.drop_ended(NOW + ENDED_STAY, keep="")
    assert "uid-b" in picture.clusters
    later = NOW + ENDED_STAY + timedelta(seconds=1)
    picture.drop_ended(later, keep="uid-b")
    assert "uid-b" in picture.clusters
    picture.drop_ended(later, keep="")
    assert set(picture.clusters) == {"uid-a", "uid-c"}
    assert picture.events("uid-b") == []
