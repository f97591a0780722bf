"""Records and clocks for the store's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daskd.model.cluster import (
    Adaptive,
    Cause,
    Cluster,
    End,
    Group,
    Handle,
    Held,
    Instance,
    Phase,
    Record,
    Role,
    Scheduler,
    State,
    Unplaceable,
)
from daskd.model.event import NewEvent
from daskd.model.names import new_instance_id, new_uid
from daskd.model.spec import AdaptivePolicy, ClusterSpec, HeldWorkPolicy, WorkerGroupSpec
from daskd.store import SqliteStore

MACHINE = "0123456789abcdef0123456789abcdef"
CREATED = NewEvent("CLUSTER_CREATED", "created", actor="ann", facts={"name": "etl"})


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def cluster(name: str = "etl", owner: str = "ann", **fields: Any) -> Cluster:
    """A cluster that is not recorded yet."""
    defaults: dict[str, Any] = {"uid": new_uid(), "owner_uid": 1000, "spec": ClusterSpec()}
    return Cluster(**{**defaults, "name": name, "owner": owner, "created": 900.0, "updated": 900.0, **fields})


def instance(of: Cluster, ordinal: int = 0, **fields: Any) -> Instance:
    """An intended instance of a cluster."""
    name = fields.pop("id", "") or new_instance_id("aaaaa")
    return Instance(
        id=name,
        cluster=of.uid,
        role=Role.NODE,
        group="default",
        ordinal=ordinal,
        workers=(f"default-{ordinal}",),
        handle=Handle("local", 1, name, name, {"pid": ordinal, "nested": {"list": [1, 2.5, None, "ü"]}}),
        created=900.0,
        **fields,
    )


async def recorded(store: SqliteStore, name: str = "etl", owner: str = "ann", **fields: Any) -> Cluster:
    """A cluster as the store recorded it."""
    made, fresh = await store.create(cluster(name, owner, **fields), request_id="", event=CREATED)
    assert fresh
    return made


def say(message: str) -> Any:
    """A change that sets the message."""
    return lambda present: replace(present, message=message)


ADAPTIVE_GROUP = Group(
    "highmem", adaptive=Adaptive(AdaptivePolicy(maximum=3), since=7.0, target=2, reason="r", reason_code="up")
)

FULL = cluster(
    "sim",
    "bob",
    uid="c" + "2" * 19,
    spec=ClusterSpec(
        profile="big",
        groups=(
            WorkerGroupSpec(n_workers=2, memory_limit=1 << 30, resources={"GPU": 1.0}, options={"queue": ["a", 1]}),
            WorkerGroupSpec(
                name="highmem",
                driver="slurm",
                environment={"OMP_NUM_THREADS": "1"},
                adaptive=AdaptivePolicy(minimum=1, maximum=9, interval=2.0),
            ),
        ),
        python="/usr/bin/python3",
        cwd="/home/bob",
        import_path=("/home/bob/lib",),
        idle_timeout=3600.0,
        held_work=HeldWorkPolicy(keep=60.0, memory_share=0.5),
        dashboard=False,
    ),
    phase=Phase.RUNNING,
    reason="READY",
    message="line\nü \N{SNOWMAN} \0",
    groups=(Group("default", desired=2, failures=1, retry_at=5.5, start_times=(0.5, 1.25)), ADAPTIVE_GROUP),
    adaptive_memory={"idle": {"w": 1.5}, "list": [1]},
    unplaceable=(Unplaceable(3, "GPU=1", "train-7", "3 tasks need GPU=1"),),
    scheduler=Scheduler("i", "tls://h:1", "http://h:2", "h", 12, 3.0, {"dask": "2025.1"}, (1.0, 2.0), 4.0),
    held=Held(1, 2, 3),
    idle_since=8.0,
    next_ordinal=4,
    event_seq=17,
)
"""A cluster with nothing left at its default."""

FULL_OF_FORMAT_1 = replace(
    FULL,
    spec=FULL.spec.model_copy(
        update={
            "groups": (
                FULL.spec.groups[0].model_copy(update={"adaptive": FULL.spec.groups[1].adaptive}),
                FULL.spec.groups[1].model_copy(update={"adaptive": None}),
            )
        }
    ),
    groups=(
        replace(FULL.groups[0], adaptive=Adaptive(AdaptivePolicy(maximum=3), since=7.0, target=2)),
        Group("highmem"),
    ),
    unplaceable=(),
)
"""The cluster that examples of the first two schemas hold, read today: its one policy was the first group's."""

ENDED_INSTANCE = instance(
    FULL,
    3,
    id="daaaaa22222222",
    record=Record.ACCEPTED,
    state=State.ENDED,
    end=End(Cause.OUT_OF_MEMORY, code=None, signal=9, words="killed", certain=False),
    launched=901.0,
    joined=902.0,
    retiring=903.0,
    stopping=904.0,
    ended=905.0,
    host="h",
    pid=77,
    words="gone",
)
LIVE_INSTANCE = instance(FULL, 2, id="daaaaa33333333")
"""Two instances of `FULL`."""
