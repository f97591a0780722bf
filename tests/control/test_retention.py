"""What is old is forgotten: logs first, then records and events; what lives never."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from daskd.control.retention import Keep, Retention
from daskd.drivers.local import LocalDriver
from daskd.drivers.protocol import Payload, Site, Surroundings
from daskd.model.cluster import Cluster, Group, Phase
from daskd.model.errors import NotAllowed
from daskd.model.event import NewEvent
from daskd.model.names import new_uid
from daskd.model.spec import ClusterSpec
from daskd.security.peer import identity_of
from daskd.store import SqliteStore

DAY = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store whose clock stands at NOW."""
    opened = await SqliteStore.open(tmp_path / "state", machine_id="0" * 32, clock=lambda: NOW)
    yield opened
    await opened.close()


@pytest.fixture
async def site(tmp_path: Path, store: SqliteStore) -> Site:
    """This machine."""
    surroundings = Surroundings(store.state_id, tmp_path / "state", tmp_path / "run")
    return await LocalDriver().open(identity_of(os.geteuid()), surroundings)


async def recorded(store: SqliteStore, site: Site, name: str, ended: float | None) -> Path:
    """A cluster, ended at that time or alive, with a folder here; answers with the folder."""
    cluster = Cluster(
        uid=new_uid(),
        name=name,
        owner="ann",
        owner_uid=1000,
        spec=ClusterSpec(),
        created=NOW - 100 * DAY,
        updated=NOW,
        groups=(Group("default"),),
    )
    await store.create(cluster, request_id="", event=NewEvent("CREATED", "created"))
    if ended is not None:
        await store.update(
            cluster.uid, lambda now: dataclasses.replace(now, phase=Phase.STOPPED, ended=ended, stop="deleted")
        )
    await site.stage(Payload(cluster.uid, {}))
    return store_folder(store, cluster.uid, site)


def store_folder(store: SqliteStore, uid: str, site: Site) -> Path:
    """Where the site keeps a cluster."""
    return site._files(uid).folder  # type: ignore[attr-defined]


def for_all(site: Site) -> Callable[[str, int], Awaitable[Site]]:
    """Every owner's site is this one."""

    async def site_of(driver: str, uid: int) -> Site:
        return site

    return site_of


async def test_logs_go_before_records_and_records_before_nothing_that_lives(store: SqliteStore, site: Site) -> None:
    """After `logs` the folder is gone and the record still there; after `clusters` the record goes too."""
    alive = await recorded(store, site, "alive", None)
    young = await recorded(store, site, "young", NOW - 1 * DAY)
    old = await recorded(store, site, "old", NOW - 10 * DAY)
    ancient = await recorded(store, site, "ancient", NOW - 40 * DAY)
    keep = Keep(logs=7 * DAY, clusters=30 * DAY, events=30 * DAY, max_events=1000)
    await Retention(store, for_all(site), keep).forget(NOW)
    assert alive.is_dir()
    assert young.is_dir()
    assert not old.exists()
    assert not ancient.exists()
    assert await store.get(old.name) is not None
    assert await store.get(ancient.name) is None
    assert await store.get(alive.name) is not None


async def test_forgetting_again_changes_nothing(store: SqliteStore, site: Site) -> None:
    """A second look finds nothing to do."""
    young = await recorded(store, site, "young", NOW - 1 * DAY)
    retention = Retention(store, for_all(site), Keep(logs=7 * DAY, clusters=30 * DAY, events=30 * DAY, max_events=1000))
    await retention.forget(NOW)
    before = store.revision
    await retention.forget(NOW)
    assert store.revision == before
    assert young.is_dir()


async def test_a_record_outlives_files_that_could_not_be_removed(store: SqliteStore, site: Site) -> None:
    """Without the record nobody would know whose they are; another owner's go all the same."""
    stuck = await recorded(store, site, "stuck", NOW - 40 * DAY)
    gone = await recorded(store, site, "gone", NOW - 40 * DAY)
    keep = Keep(logs=7 * DAY, clusters=30 * DAY, events=30 * DAY, max_events=1000)
    owners = iter([True, False])

    async def site_of(driver: str, uid: int) -> Site:
        if next(owners, False):
            return site
        raise NotAllowed("the owner's helper can't be started")

    await Retention(store, site_of, keep).forget(NOW)
    assert stuck.exists() is not gone.exists()
    assert await store.get(stuck.name) is not None
    assert await store.get(gone.name) is not None
    await Retention(store, for_all(site), keep).forget(NOW)
    assert await store.get(stuck.name) is None
    assert not stuck.exists()
