"""The content of the example databases in `data`, one of each schema that was released.

To add the example of a new schema, run `python -m tests.store.example FILE.gz` from the repository's root.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from daskd.model.cluster import Phase
from daskd.model.event import NewEvent
from daskd.store import SqliteStore

from .records import CREATED, ENDED_INSTANCE, FULL, LIVE_INSTANCE, MACHINE, Clock, cluster

GONE = cluster("gone", "ann", uid="c" + "3" * 19)
STARTED = NewEvent("CLUSTER_RUNNING", "it runs", facts={"workers": "2"})


async def fill(store: SqliteStore) -> None:
    """Write what the example holds."""
    await store.create(FULL, request_id="r1", event=CREATED)
    await store.create(GONE, request_id="", event=CREATED)
    await store.update(FULL.uid, lambda c: c, instances=[ENDED_INSTANCE, LIVE_INSTANCE], events=[STARTED])
    await store.update(GONE.uid, lambda c: replace(c, phase=Phase.STOPPED, ended=950.0))


async def write(target: Path) -> None:
    """Write an example database, compressed."""
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "state", machine_id=MACHINE, clock=Clock())
        await fill(store)
        await store.backup(Path(directory) / "copy")
        await store.close()
        content = (Path(directory) / "copy").read_bytes()
    target.write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
