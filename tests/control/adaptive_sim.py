"""A cluster of one group in simulated time, under our adaptive rule or distributed's.

Stealing is ideal (any free slot takes the longest-waiting task that it can run), data moves at 200 MB/s,
durations are learnt as the scheduler learns them. Times are in seconds.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from daskd.control.adaptive import decide
from daskd.model.adaptive import (
    Billing,
    ClassRow,
    Group,
    GroupDecision,
    Instance,
    InstanceState,
    Memory,
    Pairs,
    Policy,
    PrefixRow,
    Snapshot,
    WorkerRow,
)

MOVES = 200e6
BILLED_BEFORE_START = 5.0
EPOCH = 1e9


@dataclass(eq=False)
class Task:
    """A task, ready at a time, whose result of ``nbytes`` is held for ``held`` seconds."""

    ready: float
    seconds: float
    prefix: str = "work"
    resources: Pairs = ()
    nbytes: int = 0
    held: float = 0.0
    secedes: bool = False


@dataclass(frozen=True)
class Scenario:
    """A load and the system it falls on, which ends instances after ``walltime`` seconds if it is given."""

    name: str
    tasks: Sequence[Task]
    group: Group
    start: Callable[[random.Random], float]
    known: dict[str, float] = field(default_factory=dict)
    until: float = 7200.0
    stop_when_done: bool = True
    walltime: float | None = None


@dataclass(eq=False)
class Running:
    """An instance in the simulation: its slots and what they do."""

    id: str
    launched: float
    slots: int
    started: float | None = None
    draining: float | None = None
    tasks: dict[Task, float] = field(default_factory=dict)
    nbytes: int = 0
    idle_since: float = 0.0
    ends: float | None = None
    leaving: bool = False

    @property
    def free(self) -> int:
        """Slots that take a task now."""
        return 0 if self.started is None or self.draining is not None else self.slots - len(self.tasks)


@dataclass
class Outcome:
    """What a load took."""

    finished: float | None = None
    first: float | None = None
    waits: list[float] = field(default_factory=list)
    paid: float = 0.0
    started: int = 0
    cancelled: int = 0
    recomputed: int = 0
    lost: int = 0
    flaps: int = 0
    last_action: float = 0.0
    final: int = 0
    least: int = 10**9

    @property
    def wait(self) -> float:
        """Mean seconds from ready to start."""
        return sum(self.waits) / len(self.waits) if self.waits else math.nan


@dataclass(frozen=True)
class Orders:
    """What a rule wants: instances to launch, pending ones to end, running ones to drain."""

    launch: int = 0
    cancel: Sequence[str] = ()
    drain: Sequence[str] = ()


class Rule(Protocol):
    """A way to decide."""

    def __call__(self, sim: Simulation) -> Orders:
        """Decide at the simulation's present."""


class Simulation:
    """One scenario under one rule."""

    def __init__(self, scenario: Scenario, rule: Rule, seed: int = 0) -> None:
        self.scenario, self.rule = scenario, rule
        self.random = random.Random(seed)
        self.now = 0.0
        self.instances: dict[str, Running] = {}
        self.queue: deque[Task] = deque()
        self.means: dict[str, float] = dict(scenario.known)
        self.longest: dict[str, float] = {}
        self.starts: list[float] = []
        self.outcome = Outcome()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._names = itertools.count()
        self._left = len(scenario.tasks)
        self._ended = -math.inf

    def run(self) -> Outcome:
        """Run to the end and say what it took."""
        for task in self.scenario.tasks:
            self._at(task.ready, lambda task=task: self._ready(task))
        self._at(0.0, self._tick)
        while self._events and self._events[0][0] <= self.scenario.until:
            self.now, _, event = heapq.heappop(self._events)
            event()
            if not self._left and self.scenario.stop_when_done:
                break
        for item in list(self.instances.values()):
            self._bill(item)
        self.outcome.final = len(self.instances)
        return self.outcome

    def capable(self, task: Task) -> bool:
        """Whether the group's workers can run a task."""
        have = dict(self.scenario.group.resources)
        return all(have.get(name, 0.0) >= need for name, need in task.resources)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _ready(self, task: Task) -> None:
        self.queue.append(task)
        self._dispatch()
        if len(self.queue) == 1 and not any(item.started is not None for item in self.instances.values()):
            # the scheduler wakes the daemon for the first task that nobody serves
            self._obey(self.rule(self))

    def _tick(self) -> None:
        self._cut_off()
        self._obey(self.rule(self))
        self.outcome.least = min(self.outcome.least, len(self.instances))
        self._at(self.now + 1.0, self._tick)

    def _obey(self, orders: Orders) -> None:
        if orders.launch or orders.cancel or orders.drain:
            self.outcome.last_action = self.now
        for _ in range(orders.launch):
            self._launch()
        for name in orders.cancel:
            self.outcome.cancelled += 1
            self._end(self.instances[name])
        for name in orders.drain:
            self.instances[name].draining = self.now
            self._leave_if_empty(self.instances[name])

    def _launch(self) -> None:
        group = self.scenario.group
        item = Running(f"i{next(self._names)}", self.now, group.nthreads * group.workers_per_instance)
        self.instances[item.id] = item
        self.outcome.started += 1
        if self.now - self._ended <= max(10.0, group.stated_start):
            self.outcome.flaps += 1
        self._at(self.now + self.scenario.start(self.random), lambda: self._started(item))

    def _started(self, item: Running) -> None:
        if item.id in self.instances:
            item.started = item.idle_since = self.now
            if self.scenario.walltime is not None:
                item.ends = self.now + self.scenario.walltime
                self._at(item.ends, lambda: self._over(item))
            self.starts.append(self.now - item.launched)
            self._dispatch()

    def _dispatch(self) -> None:
        free = [item for item in self.instances.values() if item.free > 0]
        blocked: list[Task] = []
        while self.queue and free:
            task = self.queue.popleft()
            if not self.capable(task):
                blocked.append(task)
                continue
            item = min(free, key=lambda item: len(item.tasks))
            self._begin(item, task)
            if not item.free:
                free.remove(item)
        self.queue.extendleft(reversed(blocked))

    def _begin(self, item: Running, task: Task) -> None:
        item.tasks[task] = began = self.now
        self.outcome.waits.append(self.now - task.ready)
        if self.outcome.first is None:
            self.outcome.first = self.now
        self._at(self.now + task.seconds, lambda: self._done(item, task, began))

    def _done(self, item: Running, task: Task, began: float) -> None:
        if item.tasks.get(task) != began:
            return
        del item.tasks[task]
        item.idle_since = self.now
        mean = self.means.get(task.prefix)
        self.means[task.prefix] = task.seconds if mean is None else (mean + task.seconds) / 2
        self.longest[task.prefix] = max(self.longest.get(task.prefix, 0.0), task.seconds)
        if task.nbytes:
            item.nbytes += task.nbytes
            self._at(self.now + task.held, lambda: self._release(task.nbytes))
        self._left -= 1
        if not self._left:
            self.outcome.finished = self.now
        self._leave_if_empty(item)
        self._dispatch()

    def _release(self, nbytes: int) -> None:
        for item in self.instances.values():
            freed = min(item.nbytes, nbytes)
            item.nbytes -= freed
            nbytes -= freed

    def _leave_if_empty(self, item: Running) -> None:
        if item.draining is None or item.tasks or item.id not in self.instances:
            return
        others = [o for o in self.instances.values() if o is not item and o.free + len(o.tasks)]
        if item.nbytes and others:
            seconds, others[0].nbytes = item.nbytes / MOVES, others[0].nbytes + item.nbytes
            item.nbytes = 0
            self._at(self.now + seconds, lambda: self._leave_if_empty(item))
        else:
            self.outcome.lost += item.nbytes
            self._end(item)

    def _cut_off(self) -> None:
        """Tasks that outlast their worker's drain run again elsewhere."""
        for item in list(self.instances.values()):
            if item.draining is not None and not item.leaving and self.now - item.draining > 60.0:
                self.outcome.recomputed += len(item.tasks)
                self.queue.extendleft(item.tasks)
                item.tasks.clear()
                self._leave_if_empty(item)

    def _over(self, item: Running) -> None:
        """Its time is over: what runs begins anew elsewhere, and what it holds is lost."""
        if item.id in self.instances:
            self.outcome.recomputed += len(item.tasks)
            self.outcome.lost += item.nbytes
            self.queue.extendleft(item.tasks)
            item.tasks.clear()
            self._end(item)
            self._dispatch()

    def _end(self, item: Running) -> None:
        self._bill(item)
        del self.instances[item.id]
        self._ended = self.now

    def _bill(self, item: Running) -> None:
        group = self.scenario.group
        if group.billing is Billing.FROM_LAUNCH:
            self.outcome.paid += (self.now - item.launched) * group.workers_per_instance
        elif item.started is not None:
            lead = min(BILLED_BEFORE_START, item.started - item.launched)
            self.outcome.paid += (self.now - item.started + lead) * group.workers_per_instance


def seen_duration(sim: Simulation, prefix: str, elapsed: float) -> tuple[float | None, float | None]:
    """A prefix's mean and the longest seen running; the mean is unknown again once that is twice it."""
    mean = sim.means.get(prefix)
    if mean is not None and elapsed > 2 * mean:
        mean = None
    return mean, elapsed or None


class Ours:
    """The rule of :mod:`daskd.control.adaptive`."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.memory = Memory()
        self.codes: list[str] = []

    def __call__(self, sim: Simulation) -> Orders:
        """Decide as the daemon would."""
        now = EPOCH + sim.now
        group = sim.scenario.group
        known = replace(group, start_times=tuple(sim.starts[-9:]), policy=self.policy)
        decided = decide([known], _snapshot(sim, now), _instances(sim), self.memory, now)
        self.memory = decided.memory
        got = decided.groups[group.name]
        self.codes.append(got.code.value)
        return Orders(got.launch, got.cancel, [*got.drain, *_succeeded(sim, got)])


def _succeeded(sim: Simulation, got: GroupDecision) -> list[str]:
    """Who leaves now, as the daemon has it: when as many as are wanted have come, or there is no more time."""
    present = [item for item in sim.instances.values() if item.draining is None]
    for item in present:
        item.leaving = item.leaving or item.id in got.leaving
    here = sum(item.started is not None and not item.leaving for item in present) - len(got.drain)
    is_full = here * sim.scenario.group.workers_per_instance >= got.target
    leaving = [item for item in present if item.leaving and item.ends is not None]
    return [item.id for item in leaving if is_full or (item.ends or 0.0) - sim.now <= 30.0]


def _instances(sim: Simulation) -> list[Instance]:
    def state(item: Running) -> InstanceState:
        if item.draining is not None:
            return InstanceState.ENDING
        return InstanceState.PENDING if item.started is None else InstanceState.RUNNING

    return [
        Instance(
            item.id,
            sim.scenario.group.name,
            state(item),
            EPOCH + item.launched,
            None if item.started is None else EPOCH + item.started,
            None if item.ends is None else EPOCH + item.ends,
            rotating=item.leaving,
        )
        for item in sim.instances.values()
    ]


def _snapshot(sim: Simulation, now: float) -> Snapshot:
    running = [(task, began) for item in sim.instances.values() for task, began in item.tasks.items()]
    kinds: dict[Pairs, list[Task]] = {}
    for task in itertools.chain(sim.queue, (task for task, _ in running if not task.secedes)):
        kinds.setdefault(task.resources, []).append(task)
    return Snapshot(
        t=now,
        received=now,
        more_work=bool(kinds),
        classes=tuple(_class_row(sim, resources, tasks, running) for resources, tasks in kinds.items()),
        workers=tuple(_worker_rows(sim, now)),
    )


def _class_row(
    sim: Simulation, resources: Pairs, tasks: Sequence[Task], running: Sequence[tuple[Task, float]]
) -> ClassRow:
    elapsed: dict[str, float] = {}
    for task, began in running:
        elapsed[task.prefix] = max(elapsed.get(task.prefix, 0.0), sim.now - began)
    rows = [
        PrefixRow(count, *seen_duration(sim, prefix, elapsed.get(prefix, 0.0)))
        for prefix, count in sorted(Counter(task.prefix for task in tasks).items())
    ]
    executing = sum(task.resources == resources and not task.secedes for task, _ in running)
    return ClassRow(len(tasks), executing, tuple(rows), resources=resources)


def _worker_rows(sim: Simulation, now: float) -> Iterable[WorkerRow]:
    group = sim.scenario.group
    for item in sim.instances.values():
        if item.started is None:
            continue
        per_worker = [
            list(item.tasks.items())[k :: group.workers_per_instance] for k in range(group.workers_per_instance)
        ]
        for k, tasks in enumerate(per_worker):
            yield WorkerRow(
                f"{item.id}-{k}",
                item.id,
                processing=len(tasks),
                long_running=sum(task.secedes for task, _ in tasks),
                nbytes=item.nbytes // group.workers_per_instance,
                unique=item.nbytes // group.workers_per_instance,
                limit=group.memory_limit,
                idle_since=None if tasks else now - (sim.now - item.idle_since),
                elapsed=max((sim.now - began for _, began in tasks), default=0.0),
                expected=max((sim.means.get(task.prefix, 0.0) for task, _ in tasks), default=0.0),
            )


class Distributed:
    """distributed's rule, as far as one group of equal workers needs it, ``wait_count`` 3, interval 1 s."""

    def __init__(self, target_duration: float = 5.0, wait_count: int = 3) -> None:
        self.target_duration, self.wait_count = target_duration, wait_count
        self.counts: Counter[str] = Counter()

    def __call__(self, sim: Simulation) -> Orders:
        """Compare the target with what was asked for; what is too much three times in a row goes."""
        group = sim.scenario.group
        plan = [item for item in sim.instances.values() if item.draining is None]
        target = min(group.maximum, max(group.minimum, self._target(sim, plan)))
        if target >= len(plan):
            self.counts.clear()
            return Orders(target - len(plan))
        pending = [item.id for item in plan if item.started is None]
        unwanted = pending[: len(plan) - target]
        if target < len(plan) - len(unwanted):
            unwanted += self._closable(plan)[: len(plan) - len(unwanted) - target]
        self.counts = Counter({name: self.counts[name] + 1 for name in unwanted})
        firm = [name for name in unwanted if self.counts[name] >= self.wait_count]
        for name in firm:
            del self.counts[name]
        gone = [name for name in firm if name in pending]
        return Orders(cancel=gone, drain=[name for name in firm if name not in gone])

    def _target(self, sim: Simulation, plan: Sequence[Running]) -> int:
        present = [item for item in plan if item.started is not None]
        running = [(task, began) for item in present for task, began in item.tasks.items()]
        tasks = [*sim.queue, *(task for task, _ in running if not task.secedes)]
        prefixes = Counter(task.prefix for task in tasks)
        work = sum(count * self._expected(sim, prefix, running) for prefix, count in prefixes.items())
        target = min(len(tasks), math.ceil(work / self.target_duration))
        target = math.ceil(target / sim.scenario.group.nthreads)
        if tasks and not present:
            target = max(1, target)
        held = sum(item.nbytes for item in present)
        if held > 0.6 * sim.scenario.group.memory_limit * len(present) > 0:
            target = max(target, 2 * len(present))
        return target if target >= len(present) else len(present) - len(self._closable(present))

    def _expected(self, sim: Simulation, prefix: str, running: Sequence[tuple[Task, float]]) -> float:
        elapsed = max((sim.now - began for task, began in running if task.prefix == prefix), default=0.0)
        mean, _ = seen_duration(sim, prefix, elapsed)
        if mean is not None:
            return mean
        longest = sim.longest.get(prefix)
        return 0.5 if longest is None else 2 * longest

    @staticmethod
    def _closable(plan: Sequence[Running]) -> list[str]:
        return [item.id for item in plan if item.started is not None and not item.tasks and not item.nbytes]
