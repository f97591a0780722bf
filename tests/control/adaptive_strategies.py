"""Random clusters: any policy, groups, work, workers and past that could be."""

from __future__ import annotations

from typing import Any

from adaptive_states import NOW
from hypothesis import strategies as st

from daskd.control.adaptive import load
from daskd.model.adaptive import (
    Billing,
    ClassMemory,
    ClassRow,
    Group,
    GroupMemory,
    Instance,
    InstanceState,
    Memory,
    Policy,
    PrefixRow,
    Snapshot,
    WorkerRow,
)

DURATIONS = st.sampled_from([0.01, 0.3, 1.0, 7.0, 50.0, 400.0])
STARTS = st.sampled_from([0.0, 0.5, 5.0, 37.0, 60.0, 180.0, 700.0])
RESOURCES = [(), (("GPU", 1.0),), (("GPU", 2.0),), (("MEM", 1.0),), (("GPU", 1.0), ("MEM", 1.0))]
GB = 10**9

policies = st.builds(
    Policy,
    wait_count=st.sampled_from([None, None, 0, 3, 20]),
    target_duration=st.sampled_from([None, None, 1.0, 30.0]),
    cool_down=st.sampled_from([None, None, 0.0, 300.0]),
)


@st.composite
def groups(draw: st.DrawFn, name: str = "default") -> Group:
    """Any group."""
    maximum = draw(st.integers(0, 60))
    return Group(
        name,
        maximum,
        minimum=draw(st.integers(0, min(5, maximum))),
        nthreads=draw(st.sampled_from([1, 1, 2, 4])),
        resources=draw(st.sampled_from([(), (("GPU", 2.0),), (("GPU", 4.0), ("MEM", 3.0))])),
        workers_per_instance=draw(st.sampled_from([1, 1, 2, 3])),
        start_times=tuple(draw(st.lists(STARTS, max_size=9))),
        stated_start=draw(STARTS),
        billing=draw(st.sampled_from(Billing)),
        patience=draw(st.sampled_from([10.0, 60.0, 1e9])),
        initial=draw(st.sampled_from([0, 0, 0, 4])),
        policy=draw(policies),
        failing=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def classes(draw: st.DrawFn, resources: Any = (), measured: bool = False, executing: bool = True) -> ClassRow:
    """Any work with those restrictions."""
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        mean = draw(DURATIONS if measured else st.none() | DURATIONS)
        rows.append(PrefixRow(draw(st.integers(0, 400)), mean, draw(st.none() | DURATIONS)))
    ready = sum(row.count for row in rows)
    running = draw(st.integers(0, min(ready, 60))) if executing else 0
    return ClassRow(ready, running, tuple(rows), resources=resources)


@st.composite
def workloads(draw: st.DrawFn, **fields: Any) -> tuple[ClassRow, ...]:
    """Any work: up to three classes."""
    kinds = draw(st.lists(st.sampled_from(RESOURCES), max_size=3, unique=True))
    return tuple(draw(classes(resources, **fields)) for resources in kinds)


@st.composite
def rows(draw: st.DrawFn, name: str, instance: str) -> WorkerRow:
    """Any worker."""
    processing = draw(st.sampled_from([0, 0, 0, 1, 7]))
    nbytes = draw(st.sampled_from([0, 0, 1, GB, 3 * GB]))
    return WorkerRow(
        name,
        instance,
        status=draw(st.sampled_from(["running", "running", "running", "paused"])),
        processing=processing,
        long_running=draw(st.sampled_from([0, 0, 0, 1])) if processing else 0,
        actors=draw(st.sampled_from([0, 0, 0, 0, 1])),
        nbytes=nbytes,
        unique=draw(st.sampled_from([0, nbytes])),
        limit=draw(st.sampled_from([0, 4 * GB, 4 * GB, 4 * GB])),
        idle_since=None if processing else NOW - draw(st.sampled_from([0.0, 2.0, 10.0, 900.0])),
        elapsed=draw(DURATIONS) if processing else 0.0,
        expected=draw(DURATIONS) if processing else 0.0,
    )


@st.composite
def fleets(draw: st.DrawFn, group: Group, most: int | None = None) -> tuple[list[Instance], list[WorkerRow]]:
    """Any instances of a group, within its maximum, and what the scheduler says of their workers."""
    each = group.workers_per_instance
    room = group.maximum // each if most is None else most
    count = draw(st.integers(0, min(room, 8)))
    instances: list[Instance] = []
    said: list[WorkerRow] = []
    for n in range(count):
        state = draw(st.sampled_from([InstanceState.RUNNING, InstanceState.RUNNING, InstanceState.PENDING]))
        age = draw(st.sampled_from([0.5, 1.0, 6.0, 50.0, 200.0, 3000.0]))
        item = Instance(f"{group.name}-{n}", group.name, state, NOW - age)
        instances.append(item)
        if state is InstanceState.RUNNING:
            said += [draw(rows(f"{item.id}-{k}", item.id)) for k in range(each)]
    if draw(st.booleans()):
        instances.append(Instance(f"{group.name}-e", group.name, InstanceState.ENDING, NOW - 500))
    return instances, said


@st.composite
def memories(draw: st.DrawFn, group: Group) -> Memory:
    """Any past of a group."""
    past = GroupMemory(
        needed=draw(stairs()),
        surplus_since=draw(st.none() | st.floats(NOW - 1000, NOW)),
        initial_done=draw(st.booleans()),
    )
    keys = draw(st.lists(st.sampled_from(RESOURCES), max_size=3, unique=True))
    loads = {ClassRow(0, resources=resources).key: draw(class_memories()) for resources in keys}
    return Memory(loads, {group.name: past}, NOW - 1)


@st.composite
def stairs(draw: st.DrawFn) -> tuple[tuple[float, int], ...]:
    """Any falling staircase of the last ten minutes."""
    ages = sorted(draw(st.lists(st.floats(1.0, 600.0), max_size=4, unique=True)), reverse=True)
    levels = sorted(draw(st.lists(st.integers(0, 60), max_size=4, unique=True)), reverse=True)
    return tuple((NOW - age, level) for age, level in zip(ages, levels, strict=False))


@st.composite
def class_memories(draw: st.DrawFn) -> ClassMemory:
    """Any past load of a class."""
    means = draw(st.lists(st.floats(0.0, 40.0), min_size=len(load.WINDOWS), max_size=len(load.WINDOWS)))
    return ClassMemory(NOW - 1, tuple(means), draw(stairs()))


@st.composite
def snapshots(draw: st.DrawFn, said: list[WorkerRow], work: tuple[ClassRow, ...]) -> Snapshot:
    """Any snapshot with those workers and that work."""
    return Snapshot(
        t=NOW,
        received=NOW - draw(st.sampled_from([0.0, 0.0, 0.5, 3600.0])),
        graph_updates=draw(st.sampled_from([0, 0, 0, 1])),
        waiting=draw(st.sampled_from([0, 0, 40])),
        more_work=draw(st.booleans()),
        classes=work,
        workers=tuple(said),
    )


@st.composite
def states(draw: st.DrawFn, several: bool = False) -> dict[str, Any]:
    """The arguments of ``decide`` for any cluster."""
    names = ["default", "second"] if several else ["default"]
    kinds = [draw(groups(name)) for name in names]
    fleet = [draw(fleets(kind)) for kind in kinds]
    said = [row for _, some in fleet for row in some]
    return {
        "groups": kinds,
        "snapshot": draw(snapshots(said, draw(workloads()))),
        "instances": [item for some, _ in fleet for item in some],
        "memory": draw(memories(kinds[0])),
        "now": NOW,
    }
