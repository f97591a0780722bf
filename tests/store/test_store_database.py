"""The database file: old and new schemas, damage, full disks, backups."""

from __future__ import annotations

import gzip
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from daskd.model.cluster import Phase
from daskd.model.errors import InvalidArgument, StateUnusable
from daskd.store import ClusterQuery, SqliteStore
from daskd.store.failures import explained
from daskd.store.migrations import MIGRATIONS, SCHEMA_VERSION

from .example import GONE, STARTED
from .records import (
    CREATED,
    ENDED_INSTANCE,
    FULL,
    FULL_OF_FORMAT_1,
    LIVE_INSTANCE,
    MACHINE,
    Clock,
    cluster,
    recorded,
    say,
)

EXAMPLES = sorted((Path(__file__).parent / "data").glob("schema-*.db.gz"))


async def opened(state: Path, machine_id: str = MACHINE) -> SqliteStore:
    """The store in that directory."""
    return await SqliteStore.open(state, machine_id=machine_id, clock=Clock())


async def put(state: Path, content: bytes) -> Path:
    """A state directory with that database."""
    state.mkdir(mode=0o700)
    (state / "daskd.db").write_bytes(content)
    return state / "daskd.db"


def test_every_schema_has_an_example() -> None:
    """A migration comes with a database of the schema that it leads to."""
    assert [path.name for path in EXAMPLES] == [f"schema-{number + 1}.db.gz" for number in range(len(MIGRATIONS))]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
async def test_databases_of_every_schema_are_read_and_written(tmp_path: Path, example: Path) -> None:
    """A database that any release wrote is opened, holds what was written, and takes updates."""
    await put(tmp_path / "state", gzip.decompress(example.read_bytes()))
    store = await opened(tmp_path / "state")
    try:
        expected = FULL_OF_FORMAT_1 if example.name in ("schema-1.db.gz", "schema-2.db.gz") else FULL
        assert await store.get(FULL.uid) == replace(expected, revision=3, updated=1000.0)
        assert await store.get(GONE.uid) == replace(GONE, phase=Phase.STOPPED, ended=950.0, revision=4, updated=1000.0)
        assert await store.live() == [await store.get(FULL.uid)]
        assert await store.instances(FULL.uid, include_ended=True) == [LIVE_INSTANCE, ENDED_INSTANCE]
        assert [event.type for event in await store.events(FULL.uid)] == [CREATED.type, STARTED.type]
        assert [change.revision for change in await store.changes(0)] == [1, 2, 3, 4]
        assert (await store.create(cluster("sim", "bob"), request_id="r1", event=CREATED))[1] is False
        assert (await store.update(FULL.uid, say("after"))).revision == 5
    finally:
        await store.close()


async def test_state_survives_a_restart(tmp_path: Path) -> None:
    """Identity, revision and page tokens are the same after closing and opening."""
    store = await opened(tmp_path / "state")
    for name in ("one", "two"):
        await recorded(store, name)
    token = (await store.list(ClusterQuery(limit=1))).next_token
    await store.close()
    again = await opened(tmp_path / "state")
    try:
        assert (again.state_id, again.revision) == (store.state_id, 2)
        assert [found.name for found in (await again.list(ClusterQuery(limit=1, after=token))).items] == ["one"]
    finally:
        await again.close()


async def test_a_new_state_has_an_id_of_its_own(tmp_path: Path) -> None:
    """Two states do not share the id that is part of their instances' ids."""
    one, two = await opened(tmp_path / "one"), await opened(tmp_path / "two")
    assert one.state_id != two.state_id
    await one.close()
    await two.close()


async def test_a_second_store_is_refused(tmp_path: Path) -> None:
    """A state that is open can't be opened again, and can once it was closed."""
    store = await opened(tmp_path / "state")
    with pytest.raises(StateUnusable, match="in use by another daskd"):
        await opened(tmp_path / "state")
    await store.close()
    await (await opened(tmp_path / "state")).close()


async def test_another_machines_state_is_refused(tmp_path: Path) -> None:
    """A state is opened on its own machine only, and the refusal leaves it usable there."""
    await (await opened(tmp_path / "state")).close()
    with pytest.raises(StateUnusable, match=r"another machine's.*--state-dir"):
        await opened(tmp_path / "state", "f" * 32)
    await (await opened(tmp_path / "state")).close()


async def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    """A database of a newer release is not opened and not altered, and the error says to run the newer one."""
    await (await opened(tmp_path / "state")).close()
    path = tmp_path / "state" / "daskd.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(StateUnusable, match=rf"schema {SCHEMA_VERSION + 1}.*run the newer daskd"):
        await opened(tmp_path / "state")
    assert path.read_bytes() == before


async def test_a_newer_record_is_refused(tmp_path: Path) -> None:
    """A row in a format that a newer release wrote is an error that names it, never a record half read."""
    store = await opened(tmp_path / "state")
    made = await recorded(store)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "state" / "daskd.db")) as db:
        db.execute("UPDATE clusters SET format = 99")
        db.commit()
    store = await opened(tmp_path / "state")
    try:
        with pytest.raises(StateUnusable, match=rf"{made.uid} is written in format 99"):
            await store.live()
    finally:
        await store.close()


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A database that daskd did not make is left alone."""
    path = await put(tmp_path / "state", b"")
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(StateUnusable, match="some other program's"):
        await opened(tmp_path / "state")
    assert path.read_bytes() == before


async def test_damage_is_found_at_the_start(tmp_path: Path) -> None:
    """A database with overwritten pages is refused with its name and how to restore a backup."""
    store = await opened(tmp_path / "state")
    for number in range(50):
        await recorded(store, f"c{number}")
    await store.close()
    path = tmp_path / "state" / "daskd.db"
    content = bytearray(path.read_bytes())
    content[8192:-8192] = b"\xa5" * (len(content) - 16384)
    path.write_bytes(content)
    with pytest.raises(StateUnusable, match=rf"{path}.*put a backup"):
        await opened(tmp_path / "state")


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that SQLite can't read is refused with its name and how to restore a backup, and left alone."""
    path = await put(tmp_path / "state", b"not a database" * 1000)
    with pytest.raises(StateUnusable, match=rf"{path}.*put a backup"):
        await opened(tmp_path / "state")
    assert path.read_bytes() == b"not a database" * 1000


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Let the system refuse this process's writes behind that place, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_write_that_the_disk_refuses_leaves_all_as_it_was(tmp_path: Path) -> None:
    """When the disk takes no more, the caller hears so, nothing is half-written, and the next write may succeed."""
    store = await opened(tmp_path / "state")
    made = await recorded(store)
    with no_file_grows_beyond((tmp_path / "state" / "daskd.db-wal").stat().st_size + 5000):
        with pytest.raises(StateUnusable, match=r"daskd\.db can't be used"):
            await store.update(made.uid, say("x" * 100_000), events=[CREATED])
        assert await store.get(made.uid) == made
        assert store.revision == made.revision
    updated = await store.update(made.uid, say("small"), events=[CREATED])
    await store.close()
    again = await opened(tmp_path / "state")
    assert await again.get(made.uid) == updated
    assert len(await again.events(made.uid)) == 2
    await again.close()


def test_sqlites_failures_come_with_the_mend(tmp_path: Path) -> None:
    """A full disk, a read-only file and a lock held by others are told apart, by the file's name, with what to do."""
    path = tmp_path / "daskd.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count = 3")
        with pytest.raises(StateUnusable, match=r"daskd\.db.*disk is full.*Make room"), explained(path):
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
        reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        with closing(reader), pytest.raises(StateUnusable, match=r"readonly.*writable"), explained(path):
            reader.execute("INSERT INTO t VALUES (1)")
        db.execute("BEGIN EXCLUSIVE")
        other = sqlite3.connect(path, timeout=0)
        with closing(other), pytest.raises(StateUnusable, match=r"locked.*End that program"), explained(path):
            other.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StateUnusable, match="can't be opened"), explained(path):
        sqlite3.connect(tmp_path / "missing" / "daskd.db")


def test_our_own_mistakes_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    """A violated constraint stays an error of the program's."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (x UNIQUE)")
        db.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError), explained(tmp_path):
            db.execute("INSERT INTO t VALUES (1)")


async def test_a_backup_is_a_state(tmp_path: Path) -> None:
    """A backup of a store in use is one file, for us alone, that opens as the state it was taken of."""
    store = await opened(tmp_path / "state")
    made = await recorded(store)
    (tmp_path / "copy").write_text("an older backup")
    await store.backup(tmp_path / "copy")
    await store.update(made.uid, say("later"))
    await store.close()
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "state"]
    await put(tmp_path / "restored", (tmp_path / "copy").read_bytes())
    again = await opened(tmp_path / "restored")
    try:
        assert (again.state_id, again.revision) == (store.state_id, 1)
        assert await again.live() == [made]
    finally:
        await again.close()


async def test_a_backup_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A missing directory, a directory, and the database itself are refused as targets, leaving nothing behind."""
    store = await opened(tmp_path / "state")
    (tmp_path / "dir").mkdir()
    try:
        for target in (tmp_path / "none" / "copy", tmp_path / "dir", tmp_path / "state" / "daskd.db"):
            with pytest.raises(InvalidArgument):
                await store.backup(target)
    finally:
        await store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir", "state"]


async def test_the_databases_files_are_for_us_alone(tmp_path: Path) -> None:
    """The database and its log, in use, can be read by nobody else, though the file was open to all before."""
    (await put(tmp_path / "state", b"")).chmod(0o644)
    store = await opened(tmp_path / "state")
    try:
        await recorded(store)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    finally:
        await store.close()
    assert modes == dict.fromkeys(["daskd.db", "daskd.db-wal", "daskd.db-shm", "lock"], 0o600)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT record FROM clusters WHERE owner = ? AND name = ? AND ended IS NULL", "clusters_live"),
        ("SELECT record FROM clusters WHERE name = ? AND ended IS NULL ORDER BY seq", "clusters_live_name"),
        ("SELECT record FROM clusters WHERE ended IS NULL ORDER BY seq", "clusters_ended"),
        ("SELECT count(*) FROM clusters WHERE ended IS NULL AND owner = ?", "clusters_owner_ended"),
        ("SELECT record FROM clusters WHERE seq < ? AND owner = ? ORDER BY seq DESC LIMIT ?", "clusters_owner"),
        (
            "SELECT record FROM clusters WHERE seq < ? AND owner = ? AND ended IS NULL ORDER BY seq DESC LIMIT ?",
            "clusters_owner_ended",
        ),
        ("SELECT record FROM instances WHERE cluster = ? ORDER BY ordinal, id", "instances_cluster"),
        ("SELECT event FROM changes WHERE cluster = ? AND revision > ? ORDER BY revision", "changes_cluster"),
    ],
)
def test_no_question_reads_what_it_does_not_answer(statement: str, index: str) -> None:
    """What is asked by owner, name, cluster or liveness is found by index and needs no sorting."""
    with closing(sqlite3.connect(":memory:")) as db:
        for migration in MIGRATIONS:
            for step in migration:
                db.execute(step)
        plan = db.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
    details = [row[3] for row in plan]
    assert len(details) == 1
    assert f"INDEX {index} " in details[0]


def schema(path: Path) -> list[tuple[str, ...]]:
    """The statements that make up a database."""
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
async def test_old_databases_become_what_new_ones_are(tmp_path: Path, example: Path) -> None:
    """An upgraded database has the very schema of a new one: no released migration was edited."""
    await put(tmp_path / "old", gzip.decompress(example.read_bytes()))
    for name in ("old", "new"):
        await (await opened(tmp_path / name)).close()
    assert schema(tmp_path / "old" / "daskd.db") == schema(tmp_path / "new" / "daskd.db")
