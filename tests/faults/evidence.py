"""Gathers the evidence of a daemon: its store, read beside it; what its API says; what exists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daskd.model.cluster import Cluster, Instance
from daskd.store.rows import decode_cluster, decode_instance
from daskd_client import AsyncDaskd

from ..daemon_process import DaemonProcess
from ..spine.cluster_processes import role_of, supervised_by
from .checker import Evidence, Thing


@dataclass(frozen=True)
class Recorded:
    """All clusters and instances of a store."""

    clusters: tuple[Cluster, ...]
    instances: tuple[Instance, ...]


def recorded(state_dir: Path) -> Recorded:
    """What a store holds, in one reading; its daemon may be running, or not."""
    database = f"{(state_dir / 'daskd.db').absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(database, uri=True, timeout=60.0, isolation_level=None)) as db:
        db.execute("BEGIN")
        clusters = db.execute("SELECT uid, record, format FROM clusters ORDER BY seq").fetchall()
        instances = db.execute("SELECT id, record, format FROM instances ORDER BY cluster, ordinal").fetchall()
    return Recorded(tuple(map(decode_cluster, clusters)), tuple(map(decode_instance, instances)))


async def gathered(
    state_dir: Path, daskd: AsyncDaskd, things: Iterable[Thing], launches: Mapping[str, int] | None = None
) -> Evidence:
    """The evidence of a daemon that runs.

    Parameters
    ----------
    things
        What exists.
    launches
        How often each id was launched, where the system counts that.
    """
    shown = {cluster.uid: cluster for cluster in await daskd.list_clusters(include_ended=True)}
    said = recorded(state_dir)
    return Evidence(
        said.clusters,
        said.instances,
        tuple(things),
        dict(launches or {}),
        shown,
        {uid: tuple(await daskd.workers(uid)) for uid in shown},
        {uid: tuple(await daskd.events(uid)) for uid in shown},
    )


def supervised_things(daemon: DaemonProcess) -> list[Thing]:
    """What a real daemon's local driver launched and still runs: each supervisor holds one."""
    overseers = [pid for pid in daemon.processes() if role_of(pid) == "supervisor"]
    # <state>/clusters/<uid>/instances/<id>
    folders = [Path(folder) for pid in overseers if (folder := supervised_by(pid))]
    return [Thing(folder.name, folder.parent.parent.name) for folder in folders]
