"""The adaptive policy's facts: what is ready to run, where it may run, what each worker is doing.

The scheduler keeps counts by prefix and state. Which tasks are *restricted* (resources, hosts,
workers) it does not count, and finding out by a scan takes 60 ms at a million tasks; so a plugin
counts restricted tasks as they change state. A snapshot costs O(prefixes + workers + replicated).
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import TaskState, WorkerState

from .changes import Changes

Key = Any

_READY = ("queued", "no-worker", "processing")
_COUNTED = frozenset(_READY)
_UNFINISHED = ("waiting", *_READY)
_MAX_ROWS = 200  # prefixes told apart in a class; the rest are merged by similar mean
_MAX_CLASSES = 256  # the largest ones; a cluster with more restricts each task to its own worker
_GONE_KEPT = 1000
_NEED_MOST = 1e12


@dataclass(frozen=True)
class TaskClass:
    """Where tasks may run: on workers with these resources, on these hosts or workers."""

    resources: tuple[tuple[str, float], ...] = ()
    hosts: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()


UNRESTRICTED = TaskClass()


def class_of(ts: TaskState) -> TaskClass:
    """Return the class of a task; restrictions that are mere wishes (``loose``) don't count."""
    if ts.loose_restrictions:
        return UNRESTRICTED
    resources = ((str(name), float(need)) for name, need in (ts.resource_restrictions or {}).items())
    return TaskClass(
        # There is no JSON for an infinite need; nobody has as much as this either.
        tuple(sorted((name, need if need < _NEED_MOST else _NEED_MOST) for name, need in resources)),
        tuple(sorted(ts.host_restrictions or ())),
        tuple(sorted(ts.worker_restrictions or ())),
    )


@dataclass
class RestrictedTasks:
    """The ready tasks of one class: which, and how many by prefix and state."""

    where: dict[Key, tuple[str, str]] = field(default_factory=dict)  # key: (prefix, state)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (prefix, state): tasks

    def put(self, key: Key, prefix: str, state: str) -> None:
        """Count a task in a state."""
        self.where[key] = (prefix, state)
        self.counts[prefix, state] += 1

    def remove(self, key: Key) -> None:
        """Count a task no more."""
        entry = self.where.pop(key)
        self.counts[entry] -= 1
        if not self.counts[entry]:
            del self.counts[entry]


class Facts(SchedulerPlugin):
    """Counts restricted tasks by transition and makes the snapshot.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler that it is a plugin of.
    instance_of : callable
        Gives a worker name's instance id, or None.
    """

    name = "daskd-facts"

    def __init__(self, scheduler: Any, instance_of: Any) -> None:
        self.scheduler = scheduler
        self.wake = Changes()
        self.rev = 0
        self._instance_of = instance_of
        self._restricted: dict[TaskClass, RestrictedTasks] = defaultdict(RestrictedTasks)
        self._class: dict[Key, TaskClass] = {}  # ready restricted tasks only
        self._unserved: set[TaskClass] = set()  # a ready task that nobody can run was told of
        self._touched: dict[str, float] = {}  # worker address: when a task last began or ended there
        self._got_work: dict[str, int] = {}  # worker address: self.rev when it last got a task
        self._rows: dict[str, tuple[int, list[Any]]] = {}  # worker name: (rev of the last change, row)
        self._gone: deque[tuple[int, str]] = deque(maxlen=_GONE_KEPT)

    # -- by transition -------------------------------------------------------------------------

    def transition(self, key: Key, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Count ``key`` in its new state; called by the scheduler at every transition."""
        known = self._class.pop(key, None)
        if known is not None:
            self._restricted[known].remove(key)
        if finish in _COUNTED:
            self._ready(self.scheduler.tasks[key], finish)
        if start == "processing" and (worker := kwargs.get("worker")):
            self._touched[worker] = time.time()

    def _ready(self, ts: TaskState, state: str) -> None:
        if state == "processing":
            worker = ts.processing_on.address
            self._touched[worker] = time.time()
            self._got_work[worker] = self.rev
        restricted = ts.resource_restrictions or ts.host_restrictions or ts.worker_restrictions
        class_ = class_of(ts) if restricted else UNRESTRICTED
        if class_ != UNRESTRICTED:
            self._class[ts.key] = class_
            self._restricted[class_].put(ts.key, ts.prefix.name, state)
        unserved = state == "no-worker" or (state == "queued" and not self.scheduler.running)
        if unserved and class_ not in self._unserved:
            self._unserved.add(class_)
            self.wake.raise_()

    def restart(self, scheduler: Any) -> None:
        """Forget all tasks, as the scheduler did."""
        self._restricted.clear()
        self._class.clear()
        self._unserved.clear()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Wake the policy: a worker came."""
        self._touched[worker] = time.time()
        self._unserved.clear()
        self.wake.raise_()

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Wake the policy: a worker went."""
        self._touched.pop(worker, None)
        self._got_work.pop(worker, None)
        self.wake.raise_()

    def status_changed(self, ws: WorkerState) -> None:
        """Wake the policy if a worker paused."""
        if ws.status == Status.paused:
            self.wake.raise_()

    def worked_since(self, ws: WorkerState, rev: int) -> bool:
        """Whether a worker has a task, or got one since the snapshot of revision ``rev``."""
        return bool(ws.processing) or self._got_work.get(ws.address, -1) >= rev

    # -- the snapshot --------------------------------------------------------------------------

    def snapshot(self, since: int | None = None) -> dict[str, Any]:
        """Return the facts now.

        Parameters
        ----------
        since : int, optional
            Revision of an earlier snapshot: only workers whose row changed after it are told.
            By default, and for a revision that this process can't know, all.
        """
        states: Counter[str] = Counter()
        for prefix in self.scheduler.task_prefixes.values():
            for state in _UNFINISHED:
                states[state] += prefix.states[state]
        classes, left_out, ready_classes = self._classes()
        self._unserved.intersection_update(c for c, _ in classes)
        self._look_at_workers()
        full = since is None or since > self.rev or (len(self._gone) == _GONE_KEPT and since < self._gone[0][0])
        return {
            "rev": self.rev,
            "wake": self.wake.count,
            "t": time.time(),
            "graph_updates": self.scheduler._active_graph_updates,
            "waiting": states["waiting"],
            "more_work": any(states.values()),
            "classes": [row for _, row in classes],
            "workers": [row for rev, row in self._rows.values() if full or rev > (since or 0)],
            "gone": [] if full else [name for rev, name in self._gone if rev > (since or 0)],
            "full": full,
            "prefixes_left_out": left_out,
            "classes_left_out": max(0, ready_classes - len(classes)),
        }

    def counted(self) -> dict[TaskClass, dict[tuple[str, str], int]]:
        """Return the counts of restricted ready tasks by class, prefix and state."""
        return {c: dict(tasks.counts) for c, tasks in self._restricted.items() if tasks.counts}

    def _classes(self) -> tuple[list[tuple[TaskClass, dict[str, Any]]], int, int]:
        """Return the largest classes' rows, how many prefixes were merged, and how many classes there are."""
        for class_ in [c for c, tasks in self._restricted.items() if not tasks.where]:
            del self._restricted[class_]
        ready = self._ready_by_class()
        executing = self._executing_by_class()
        unserved = self._unserved_by_class()
        names = {ws.address: str(ws.name) for ws in self.scheduler.workers.values()}
        rows = []
        left_out = 0
        largest = sorted(ready, key=lambda c: (c != UNRESTRICTED, -sum(ready[c].values())))
        for class_ in largest[:_MAX_CLASSES]:
            merged = merge_rows([self._prefix_row(p, n) for p, n in ready[class_].items()])
            left_out += max(0, len(ready[class_]) - len(merged))
            row: dict[str, Any] = {
                "resources": dict(class_.resources),
                "hosts": list(class_.hosts),
                "workers": [names.get(address, address) for address in class_.workers],
                "ready": sum(ready[class_].values()),
                "executing": executing[class_],
                "unserved": unserved[class_],
                "rows": merged,
            }
            if class_ != UNRESTRICTED:
                row["example"] = str(next(iter(self._restricted[class_].where)))[:200]
            rows.append((class_, row))
        return rows, left_out, len(ready)

    def _ready_by_class(self) -> dict[TaskClass, Counter[str]]:
        """Count ready tasks by class and prefix, those that seceded from their thread left out."""
        ready: dict[TaskClass, Counter[str]] = {UNRESTRICTED: Counter()}
        for name, prefix in self.scheduler.task_prefixes.items():
            ready[UNRESTRICTED][name] = sum(prefix.states[state] for state in _READY)
        for class_, tasks in self._restricted.items():
            ready[class_] = Counter()
            for (name, _), n in tasks.counts.items():
                ready[class_][name] += n
                ready[UNRESTRICTED][name] -= n
        for ws in self.scheduler.workers.values():
            for ts in ws.long_running:
                ready[self._class.get(ts.key, UNRESTRICTED)][ts.prefix.name] -= 1
        positive = {class_: +counts for class_, counts in ready.items()}
        return {class_: counts for class_, counts in positive.items() if counts}

    def _executing_by_class(self) -> Counter[TaskClass]:
        executing: Counter[TaskClass] = Counter()
        for ws in self.scheduler.workers.values():
            for ts in ws.executing:
                # Told by heartbeat: some have ended since.
                if ts in ws.processing and ts not in ws.long_running:
                    executing[self._class.get(ts.key, UNRESTRICTED)] += 1
        return executing

    def _unserved_by_class(self) -> Counter[TaskClass]:
        """Count the tasks that wait because no worker that is there may run them."""
        # Restricted tasks are never queued; the others are where no worker takes any.
        states = ("no-worker",) if self.scheduler.running else ("no-worker", "queued")
        unserved: Counter[TaskClass] = Counter()
        for prefix in self.scheduler.task_prefixes.values():
            unserved[UNRESTRICTED] += sum(prefix.states[state] for state in states)
        for class_, tasks in self._restricted.items():
            unserved[class_] = sum(n for (_, state), n in tasks.counts.items() if state == "no-worker")
            unserved[UNRESTRICTED] -= unserved[class_]
        return unserved

    def _prefix_row(self, name: str, count: int) -> list[float]:
        prefix = self.scheduler.task_prefixes[name]
        return [count, prefix.duration_average, prefix.max_exec_time]

    def _look_at_workers(self) -> None:
        """Raise the revision and note each worker's row, under it if it changed."""
        now = time.time()
        self.rev += 1
        replicated = self._replicated_bytes()
        seen = set()
        for ws in self.scheduler.workers.values():
            row = self._worker_row(ws, ws.nbytes - replicated[ws], now)
            seen.add(row[0])
            if row[0] not in self._rows or self._rows[row[0]][1] != row:
                self._rows[row[0]] = (self.rev, row)
        for name in [name for name in self._rows if name not in seen]:
            del self._rows[name]
            self._gone.append((self.rev, name))

    def _replicated_bytes(self) -> Counter[WorkerState]:
        replicated: Counter[WorkerState] = Counter()
        for ts in self.scheduler.replicated_tasks:
            for ws in ts.who_has:
                replicated[ws] += ts.get_nbytes()
        return replicated

    def _worker_row(self, ws: WorkerState, unique: int, now: float) -> list[Any]:
        if ws.processing:
            idle_since = None
            self._touched[ws.address] = now
        else:
            idle_since = self._touched.setdefault(ws.address, now)
        name = str(ws.name)
        prefixes = (self.scheduler.task_prefixes.get(p) for p in ws.task_prefix_count)
        expected = (p.duration_average for p in prefixes if p is not None)
        return [
            name,
            self._instance_of(name),
            ws.status.name,
            len(ws.processing),
            len(ws.long_running),
            len(ws.actors),
            ws.nbytes,
            max(0, unique),
            ws.memory_limit or 0,
            idle_since,
            max((s for ts, s in ws.executing.items() if ts in ws.processing), default=-1),
            max(expected, default=-1),
        ]


def merge_rows(rows: Iterable[list[float]]) -> list[list[float]]:
    """Merge rows (count, mean seconds, longest seconds) beyond the 200 largest by similar mean.

    Merged rows keep the number of tasks and their seconds; means within a factor of two go
    together, unknown ones (-1) among themselves.
    """
    ordered = sorted(rows, key=lambda row: -row[0])
    if len(ordered) <= _MAX_ROWS:
        return ordered
    merged: dict[int | None, list[float]] = {}
    for count, mean, longest in ordered[_MAX_ROWS:]:
        bucket = merged.setdefault(math.frexp(mean)[1] if mean > 0 else None, [0, 0.0, -1])
        bucket[1] = (bucket[0] * bucket[1] + count * mean) / (bucket[0] + count)
        bucket[0] += count
        bucket[2] = max(bucket[2], longest)
    return ordered[:_MAX_ROWS] + list(merged.values())
