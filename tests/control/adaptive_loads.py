"""The loads and systems that the adaptive rules are compared on."""

from __future__ import annotations

import random
from typing import Any

from adaptive_sim import Scenario, Task

from daskd.model.adaptive import Billing, Group

GPU = (("GPU", 1.0),)
SYSTEMS: dict[str, tuple[float, int, Billing]] = {
    "local": (0.3, 16, Billing.FROM_LAUNCH),
    "ssh": (5.0, 200, Billing.FROM_LAUNCH),
    "batch": (60.0, 200, Billing.FROM_START),
    "machine": (180.0, 200, Billing.FROM_LAUNCH),
}


def on(system: str, name: str, tasks: list[Task], group: dict[str, Any] | None = None, **more: Any) -> Scenario:
    """A load on a system whose starts vary by a fifth."""
    seconds, maximum, billing = SYSTEMS[system]
    fields = {"maximum": maximum, "stated_start": seconds, "billing": billing, "memory_limit": 8 * 10**9}
    kind = Group("default", **{**fields, **(group or {})})

    def start(chance: random.Random) -> float:
        return seconds * chance.uniform(0.8, 1.2)

    return Scenario(f"{name}, {system}", tasks, kind, start, **more)


def burst(count: int, seconds: float, at: float = 0.0, **fields: Any) -> list[Task]:
    """Tasks that are ready at once."""
    return [Task(at, seconds, **fields) for _ in range(count)]


def trickle(per_second: float, seconds: float, lasting: float, seed: int = 1) -> list[Task]:
    """Tasks that come one by one, at random."""
    chance = random.Random(seed)
    tasks, at = [], 0.0
    while (at := at + chance.expovariate(per_second)) < lasting:
        tasks.append(Task(at, seconds))
    return tasks


def sawtooth(count: int, seconds: float, period: float, times: int) -> list[Task]:
    """Bursts at a fixed period."""
    return [task for n in range(times) for task in burst(count, seconds, at=n * period)]


def constant(slots: int, seconds: float, lasting: float) -> list[Task]:
    """Tasks evenly spread so that as many slots are always busy."""
    gap = seconds / slots
    return [Task(n * gap, seconds) for n in range(int(lasting / gap))]


def scenarios() -> list[Scenario]:
    """All loads, each on the systems where it tells something."""
    known = {"work": 1.0}
    found = [on(system, "1,000 x 1 s, never seen", burst(1000, 1.0)) for system in SYSTEMS]
    found.append(on("machine", "1,000 x 1 s, durations known", burst(1000, 1.0), known=known))
    for system in ("ssh", "machine"):
        found += [
            on(system, "60 x 120 s, never seen", burst(60, 120.0)),
            on(system, "5,000 x 10 ms, never seen", burst(5000, 0.01)),
            on(system, "trickle of 2/s x 1 s, 20 min", trickle(2.0, 1.0, 1200.0)),
            on(system, "200 x 2 s each 60 s, 8 times", sawtooth(200, 2.0, 60.0, 8)),
            on(system, "clicks of 4 x 0.3 s each 60 s", sawtooth(4, 0.3, 60.0, 60)),
        ]
    straggler = burst(200, 5.0) + burst(1, 600.0, prefix="straggler")
    seceded = burst(4, 600.0, prefix="outer", secedes=True) + sawtooth(40, 2.0, 100.0, 6)
    found += [
        on("ssh", "200 x 5 s and one of 600 s", straggler),
        on("ssh", "4 seceded of 600 s, bursts below", seceded),
        on("ssh", "200 tasks no group can run", burst(200, 1.0, resources=GPU), until=600.0),
        on("ssh", "80 results of 1 GB", burst(80, 5.0, nbytes=10**9, held=600.0)),
        on(
            "batch",
            "4 x 60 x 1 s in jobs of 4",
            sawtooth(60, 1.0, 40.0, 4),
            group={"workers_per_instance": 4},
        ),
        on("machine", "400 x 2 s after 400 s, initial=20", burst(400, 2.0, at=400.0), group={"initial": 20}),
    ]
    return found
