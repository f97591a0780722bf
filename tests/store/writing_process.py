"""A process that counts up in a store until it is killed, and prints each number that is on disk."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from daskd.model.cluster import Cluster, Group, Handle, Held, Instance, Role
from daskd.model.event import NewEvent
from daskd.model.spec import ClusterSpec
from daskd.store import SqliteStore


def count(present: Cluster) -> Cluster:
    """The record with one more held key."""
    return replace(present, held=Held(keys=present.held.keys + 1))


async def main(state_dir: Path, machine_id: str) -> None:
    """Write until killed."""
    store = await SqliteStore.open(state_dir, machine_id=machine_id, clock=time.time)
    fresh = Cluster("c" + "a" * 19, "etl", "ann", 1, ClusterSpec(), 1.0, 1.0, groups=(Group("default"),))
    made, _ = await store.create(fresh, request_id="r", event=NewEvent("CLUSTER_CREATED", "created"))
    while True:
        name = f"daaaaa{made.held.keys:08}"
        handle = Handle("local", 1, name, name)
        launched = Instance(name, made.uid, Role.NODE, "default", made.held.keys, (), handle, 1.0)
        made = await store.update(made.uid, count, instances=[launched], events=[NewEvent("COUNTED", "one more")])
        print(made.held.keys, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
