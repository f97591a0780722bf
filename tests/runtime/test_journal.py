"""The journal's file: what is written is read, and what is damaged is cut, told, and never taken for something else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from distributed.protocol.serialize import Serialized
from hypothesis import given
from hypothesis import strategies as st

from daskd.runtime.journal import framing, reader
from daskd.runtime.journal.compaction import compacted
from daskd.runtime.journal.history import DEATHS, deaths, judge, suspects
from daskd.runtime.journal.records import (
    Aside,
    Ended,
    Graph,
    Header,
    Noted,
    Record,
    Released,
    Scattered,
    Started,
    Wanted,
    encode,
)
from daskd.runtime.journal.submission import packed, unpacked
from daskd.runtime.journal.writer import Writer

VERSIONS = {"python": "3.11.7", "dask": "2026.8.0", "distributed": "2026.8.0", "numpy": "2.1.0"}
HEADER = Header("run", VERSIONS)

keys = st.one_of(st.text(max_size=8), st.tuples(st.text(max_size=8), st.integers(0, 99)))
several = st.lists(keys, max_size=4).map(tuple)
stamps = st.tuples(st.integers(1, 9), st.integers(1, 99))
records = st.one_of(
    st.builds(Started, number=st.integers(1, 9), time=st.floats(0, 1e9)),
    st.builds(Ended, time=st.floats(0, 1e9)),
    st.builds(
        Graph,
        stamp=stamps,
        client=st.text(max_size=8),
        keys=several,
        arguments=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
        frames=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    ),
    st.builds(Wanted, client=st.text(max_size=8), keys=several),
    st.builds(Released, client=st.text(max_size=8), keys=several),
    st.builds(Scattered, stamp=stamps, sizes=st.dictionaries(keys, st.integers(-1, 99), max_size=3)),
    st.builds(Noted, kind=st.text(max_size=5), name=keys, value=st.one_of(st.none(), st.binary(max_size=9))),
    st.builds(Aside, stamps=st.lists(stamps, max_size=3).map(tuple)),
)


def journal(written: list[Record]) -> bytes:
    """The bytes of a journal that says this."""
    buffers = [bytes(b) for record in (HEADER, *written) for b in framing.frame(encode(record))]
    return framing.FILE_MAGIC + b"".join(buffers)


def said(contents: reader.Contents) -> list[Record]:
    """What a journal says, with its frames as bytes."""
    return [
        Graph(r.stamp, r.client, r.keys, r.arguments, tuple(map(bytes, r.frames))) if isinstance(r, Graph) else r
        for r in contents.records
    ]


@given(st.lists(records, max_size=8))
def test_what_is_written_is_read(written: list[Record]) -> None:
    """Every record comes back as it was, in order, and nothing is in the way."""
    contents = reader.parse(journal(written))
    assert (contents.header, said(contents)) == (HEADER, written)
    assert (contents.trouble, contents.damaged) == ("", False)


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_a_torn_end_is_cut_and_told(written: list[Record], data: st.DataObject) -> None:
    """However much of the end is missing, what is read is what was written first, and the cut is where it ends."""
    whole = journal(written)
    kept = data.draw(st.integers(len(journal([])), len(whole) - 1))
    contents = reader.parse(whole[:kept])
    found = said(contents)
    assert found == written[: len(found)]
    assert contents.end == len(journal(found))
    assert not contents.damaged
    assert bool(contents.trouble) == (kept > contents.end)


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_a_flipped_bit_is_never_taken_for_a_word(written: list[Record], data: st.DataObject) -> None:
    """With any bit flipped, what is read is what was written before it; and it is told."""
    whole = bytearray(journal(written))
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    contents = reader.parse(bytes(whole))
    found = said(contents)
    assert found == written[: len(found)]
    assert contents.trouble
    if contents.header is not None:
        assert len(found) < len(written)


@given(st.binary(max_size=200))
def test_a_foreign_file_says_nothing(data: bytes) -> None:
    """Whatever bytes are there instead of a journal, nothing is read of them, and it is told what is wrong."""
    contents = reader.parse(data)
    assert (contents.header, contents.records) == (None, ())
    assert contents.trouble


@given(st.lists(records, max_size=5), st.binary(max_size=200))
def test_rubbish_after_the_end_is_cut(written: list[Record], rubbish: bytes) -> None:
    """What a file system left behind the last record is no record."""
    assert said(reader.parse(journal(written) + rubbish)) == written


def replay(written: list[Record]) -> dict[str, set]:
    """Who wants which keys in the end."""
    wants: dict[str, set] = {}
    for record in written:
        if isinstance(record, Graph | Wanted):
            wants.setdefault(record.client, set()).update(record.keys)
        elif isinstance(record, Released):
            wants.setdefault(record.client, set()).difference_update(record.keys)
    return wants


@given(st.lists(records, max_size=20), st.data())
def test_compaction_changes_nothing_that_lives(written: list[Record], data: st.DataObject) -> None:
    """Of graphs that live every record stays in order, and who wants their keys; compacting twice is as once."""
    lots = {
        r.stamp: r.keys if isinstance(r, Graph) else tuple(r.sizes) for r in written if isinstance(r, Graph | Scattered)
    }
    living = data.draw(st.sets(st.sampled_from(sorted(lots)))) if lots else set()
    live = {stamp: lots[stamp] for stamp in living}
    kept = list(compacted(written, live))
    assert list(compacted(kept, live)) == kept
    known = {key for each in live.values() for key in each}
    before, after = replay([r for r in written if not isinstance(r, Graph) or r.stamp in live]), replay(kept)
    assert {c: k & known for c, k in before.items() if k & known} == {
        c: k & known for c, k in after.items() if k & known
    }


def test_what_update_graph_was_given_comes_back() -> None:
    """Bytes are taken out of the arguments and put in again, whichever release's form they have."""
    view = memoryview(b"abc")
    arguments = {"expr_ser": Serialized({"h": 1}, [view, b"de"]), "graph_frames": [b"f", view], "keys": {"x"}}
    kept, frames = packed(arguments)
    again = unpacked(kept, frames)
    assert (again["expr_ser"].header, again["expr_ser"].frames) == ({"h": 1}, [b"abc", b"de"])
    assert (again["graph_frames"], again["keys"]) == ([b"f", b"abc"], {"x"})


@pytest.mark.parametrize(
    ("package", "version", "resumes"),
    [
        ("distributed", "2026.9.0", False),
        ("python", "3.12.1", False),
        ("python", "3.11.9", True),
        ("numpy", "1.0", True),
    ],
)
def test_other_versions_are_refused_in_words(package: str, version: str, resumes: bool) -> None:
    """A journal of versions whose pickles may differ is not replayed, and which they are is said."""
    verdict = judge(reader.parse(journal([])), {**VERSIONS, package: version})
    assert verdict.resumes is resumes
    assert resumes or (version in verdict.words and package in verdict.words)


def graph(n: int) -> Graph:
    """A graph of one key."""
    return Graph((1, n), "c", (f"k-{n}",), {}, ())


def test_after_some_deaths_the_last_graphs_are_suspected() -> None:
    """The third death in a row sets the newest graph aside, the fourth two more; an end that was asked for is none."""
    written: list[Record] = [Started(1, 100.0), graph(1), graph(2), graph(3), graph(4), Started(2, 110.0)]
    assert suspects(reader.parse(journal(written)), 120.0) == ()
    written.append(Started(DEATHS, 120.0))
    assert suspects(reader.parse(journal(written)), 130.0) == ((1, 4),)
    written += [Aside(((1, 4),)), Started(4, 130.0)]
    assert suspects(reader.parse(journal(written)), 140.0) == ((1, 2), (1, 3))
    assert deaths(written, 10_000.0) == 0
    assert deaths([*written, Ended(135.0), Started(5, 136.0)], 140.0) == 1


def test_the_writer_writes_what_it_is_given_in_order(tmp_path: Path) -> None:
    """From several threads, across a compaction, each thread's records are all there, in its order."""
    path, failures = tmp_path / "journal", []
    writer = Writer(path, failures.append)
    writer.begin(HEADER)
    compactions = threading.Semaphore(0)

    def put(thread: int) -> None:
        for n in range(500):
            writer.put(Noted(f"t{thread}", n, n + 1))
            if n == 250:
                writer.compact({}, compactions.release)

    threads = [threading.Thread(target=put, args=(t,)) for t in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert writer.flush(60)
    assert all(compactions.acquire(timeout=60) for _ in range(3))
    contents = reader.read(path)
    for thread in range(3):
        assert [r.name for r in contents.records if isinstance(r, Noted) and r.kind == f"t{thread}"] == list(range(500))
    assert (path.stat().st_mode & 0o777, failures, contents.trouble) == (0o600, [], "")
    writer.close()


def test_a_writer_goes_on_behind_what_is_good(tmp_path: Path) -> None:
    """A torn end is cut before anything follows it."""
    path = tmp_path / "journal"
    path.write_bytes(journal([Ended(1.0)]) + b"torn")
    contents = reader.read(path)
    writer = Writer(path, lambda words: None)
    writer.go_on(contents.end)
    writer.put(Ended(2.0))
    writer.close()
    contents = reader.read(path)
    assert (contents.records, contents.trouble) == ((Ended(1.0), Ended(2.0)), "")


def test_a_value_that_can_not_be_written_is_told_once(tmp_path: Path) -> None:
    """The writer says what is wrong and takes nothing more; who handed it over goes on."""
    failures: list[str] = []
    writer = Writer(tmp_path / "journal", failures.append)
    writer.begin(HEADER)
    writer.put(Noted("kind", "name", threading.Lock()))
    deadline = time.monotonic() + 60
    while not failures and time.monotonic() < deadline:
        assert not writer.flush(60)
    writer.put(Ended(1.0))
    assert not writer.flush(60)
    writer.close()
    assert len(failures) == 1
    assert "lock" in failures[0]
