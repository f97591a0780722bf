"""Retiring workers: drain, move what they hold, close.

``Scheduler.retire_workers`` moves finished results and cuts running tasks off, to run again
elsewhere. So a worker is drained before: it gets no new tasks, what waits in its queue moves to
others, and what runs may end within a bound.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from distributed import Status
from distributed.scheduler import TaskState, WorkerState

from .state import RETIRE_STIMULUS, Journal

logger = logging.getLogger("daskd.retire")

_POLL_SECONDS = 0.05
_SAMPLE = 20

RetireState = Literal["draining", "moving", "retired", "refused", "unknown"]


class RefusedError(Exception):
    """A worker can't be retired now; the text says why."""


class WorkerLeftError(Exception):
    """The worker went by itself meanwhile."""


@dataclass(frozen=True)
class Progress:
    """How far a worker's retirement is."""

    state: RetireState
    words: str = ""

    def document(self) -> dict[str, str]:
        """Return it as the link tells it."""
        return {"state": self.state, "words": self.words}


def refusal(ws: WorkerState) -> str | None:
    """Return why a worker can't be retired without losing what can't be moved; None: it can."""
    if ws.actors:
        return f"{len(ws.actors)} actors live on it, and actors can't be moved"
    if ws.long_running:
        return f"{len(ws.long_running)} long-running tasks (that seceded from their thread) run on it"
    return None


class Retirement:
    """Retires workers by name, each in a task of its own.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler of the workers.
    journal : Journal
        Told what was cut off and what was refused.
    worked_since : callable
        ``worked_since(ws, rev)``: whether a worker got work since a snapshot's revision.
    retired : callable
        Gives the names of workers that retired lately.
    instance_of : callable
        Gives the instance that a worker, by name, belongs to; None: somebody else brought it.
    changed : callable
        Called at every step.
    """

    def __init__(
        self,
        scheduler: Any,
        journal: Journal,
        worked_since: Callable[[WorkerState, int], bool],
        retired: Callable[[], Collection[str]],
        instance_of: Callable[[str], str | None],
        changed: Callable[[], None],
    ) -> None:
        self.scheduler = scheduler
        self._journal = journal
        self._worked_since = worked_since
        self._retired = retired
        self._instance_of = instance_of
        self._changed = changed
        self._progress: dict[str, Progress] = {}  # by worker address, which no successor has
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, address: str) -> dict[str, str] | None:
        """Return the retirement of the worker at an address, if one was begun."""
        progress = self._progress.get(address)
        return progress.document() if progress else None

    def begin(self, names: Iterable[str], drain: float, if_idle_rev: int | None = None) -> dict[str, dict[str, str]]:
        """Begin to retire workers, or go on; never wait.

        Workers of one instance begin together: where one of them is refused at once, none does.

        Parameters
        ----------
        names : iterable of str
            The workers' names.
        drain : float
            Seconds that running tasks may take to end before they are cut off.
        if_idle_rev : int, optional
            Refuse workers that have work, or got some since the snapshot of this revision.

        Returns
        -------
        dict
            Each name's ``state`` and ``words``.
        """
        workers = {str(ws.name): ws for ws in self.scheduler.workers.values()}
        for address in [a for a in self._progress if a not in self.scheduler.workers]:
            del self._progress[address]
        retired = self._retired()
        asked = list(names)
        refused = self._refusals({name: workers[name] for name in asked if name in workers}, if_idle_rev)
        answer = {}
        for name in asked:
            ws = workers.get(name)
            if ws is not None:
                progress = self._begin_one(ws, drain, refused.get(name))
            elif name in retired:
                progress = Progress("retired")
            else:
                progress = Progress("unknown", "no worker of this name is here")
            answer[name] = progress.document()
        return answer

    def _refusals(self, asked: Mapping[str, WorkerState], if_idle_rev: int | None) -> dict[str, str]:
        """Say why workers can't begin to retire now, by name."""
        refused = {name: why for name, ws in asked.items() if (why := self._refusal_of(ws, if_idle_rev)) is not None}
        kept = {instance: name for name in refused if (instance := self._instance_of(name)) is not None}
        for name, ws in asked.items():
            other = kept.get(self._instance_of(name) or "")
            if other is not None and name not in refused and not self._is_under_way(ws):
                refused[name] = f"it goes together with {other}: {refused[other]}"
        return refused

    def _refusal_of(self, ws: WorkerState, if_idle_rev: int | None) -> str | None:
        if self._is_under_way(ws):
            return None
        why = refusal(ws)
        if why is None and if_idle_rev is not None and self._worked_since(ws, if_idle_rev):
            why = "it got work meanwhile"
        return why

    def _is_under_way(self, ws: WorkerState) -> bool:
        progress = self._progress.get(ws.address)
        return progress is not None and progress.state != "refused"

    def _begin_one(self, ws: WorkerState, drain: float, why: str | None) -> Progress:
        if self._is_under_way(ws):
            return self._progress[ws.address]
        if why is not None:
            self._refuse(ws, why)
        else:
            self._step(ws, Progress("draining", f"waits at most {drain:g} s for what runs on it"))
            # At once, not in the task: workers that retire together must not get each other's work.
            before = ws.status
            self._set_status(ws, Status.closing_gracefully)
            task = asyncio.create_task(self._retire(ws, before, drain), name=f"retire {ws.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._progress[ws.address]

    async def _retire(self, ws: WorkerState, before: Status, drain: float) -> None:
        try:
            self._move_queued(ws)
            cut = await self._drain(ws, drain)
            self._step(ws, Progress("moving", "its results move to other workers"))
            self._tell_cut(ws, cut, drain)
            await self._move_and_close(ws)
        except RefusedError as why:
            self._set_status(ws, before)
            self._refuse(ws, str(why))
        except (WorkerLeftError, OSError, KeyError):
            # distributed raises KeyError or CommClosedError (an OSError) where the worker has just gone.
            logger.info("Worker %s went while it was retired", ws.name)
            self._progress.pop(ws.address, None)
            self._changed()

    async def _drain(self, ws: WorkerState, drain: float) -> list[TaskState]:
        """Wait for running tasks to end; return those that did not."""
        deadline = time.monotonic() + drain
        last_seen, beats = ws.last_seen, 0
        while True:
            if self.scheduler.workers.get(ws.address) is not ws:
                raise WorkerLeftError
            if (why := refusal(ws)) is not None:
                raise RefusedError(why)
            if ws.last_seen != last_seen:
                last_seen, beats = ws.last_seen, beats + 1
            # The worker starts nothing any more, but only a heartbeat sent after it learned so
            # says what it has started: the second from now on is one for sure.
            running = [ts for ts in ws.processing if beats < 2 or ts in ws.executing]
            if not running or time.monotonic() >= deadline:
                return running
            await asyncio.sleep(_POLL_SECONDS)

    def _move_queued(self, ws: WorkerState) -> None:
        """Ask the worker to hand tasks that it has not started to others.

        This is what work stealing does, whose extension asks the worker and settles the answer; a
        worker keeps what it has started. Without the extension, they run again at the end.
        """
        stealing = self.scheduler.extensions.get("stealing")
        if stealing is None:
            return
        load = {other: len(other.processing) for other in self.scheduler.running}
        for ts in sorted(ws.processing, key=lambda ts: ts.priority):
            valid = self.scheduler.valid_workers(ts)
            able = load.keys() if valid is None else load.keys() & valid
            if able:
                thief = min(able, key=lambda other: load[other] / max(1, other.nthreads))
                load[thief] += 1
                stealing.move_task_request(ts, ws, thief)

    async def _move_and_close(self, ws: WorkerState) -> None:
        done = await self.scheduler.retire_workers(
            names=[ws.name],
            close_workers=True,
            remove=True,
            stimulus_id=f"{RETIRE_STIMULUS}{time.time()}",
        )
        if ws.address in done:
            logger.info("Retired worker %s", ws.name)
        elif self.scheduler.workers.get(ws.address) is not ws:
            raise WorkerLeftError
        else:
            raise RefusedError("its results could not be moved: no other running worker can take them")

    def _set_status(self, ws: WorkerState, status: Status) -> None:
        """Set a worker's status here, at once, and there; as ``Scheduler.retire_workers`` does."""
        stimulus_id = f"{RETIRE_STIMULUS}{time.time()}"
        self.scheduler.handle_worker_status_change(status, ws, stimulus_id)
        self.scheduler.worker_send(
            ws.address,
            {"op": "worker-status-change", "status": status.name, "stimulus_id": stimulus_id},
        )

    def _step(self, ws: WorkerState, progress: Progress) -> None:
        self._progress[ws.address] = progress
        self._changed()

    def _refuse(self, ws: WorkerState, why: str) -> None:
        self._step(ws, Progress("refused", why))
        self._journal("retire-refused", f"worker {ws.name} was not retired: {why}", worker=str(ws.name))

    def _tell_cut(self, ws: WorkerState, cut: list[TaskState], drain: float) -> None:
        if cut:
            words = f"worker {ws.name}: {len(cut)} running tasks were cut off after {drain:g} s; they run again"
            sample = [str(ts.key) for ts in cut[:_SAMPLE]]
            self._journal("retire-cut", words, worker=str(ws.name), tasks=len(cut), sample=sample)
