"""A scheduler that keeps a journal of what it was asked to do, and goes on where its predecessor ended.

Every override says what it relies on; the tests run against the oldest, a middle and the newest supported release of
``distributed``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler, Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import ClientState, TaskState, WorkerState
from tornado.ioloop import PeriodicCallback

from .journal.reader import Contents
from .journal.recorder import Recorder
from .journal.records import Key, Stamp
from .journal.submission import packed
from .registered import Registered
from .resume import KEPT, STAMP, WORKER, Resumption

logger = logging.getLogger("daskd.scheduler")

_TICK_MS = 1000
_AWAITED = ("waiting", "no-worker", "queued")


@dataclass
class Submission:
    """The call of ``update_graph`` that is under way in a context."""

    client: str
    arguments: Mapping[str, Any]
    stamp: Stamp | None = None  # of one that is replayed
    done: bool = False


_submission: ContextVar[Submission | None] = ContextVar("daskd_submission", default=None)


class Journaling(SchedulerPlugin):
    """Tells the scheduler of a graph at the moment when it is there, and of workers that come and go.

    A plugin's ``update_graph`` is called once the graph's tasks are made and before any of them is sent to a worker,
    its ``add_worker`` before a worker is given a task.
    """

    name = "daskd-journal"

    def update_graph(self, scheduler: Any, *, client: str, keys: Any, tasks: Any, **kwargs: Any) -> None:
        """Note a graph."""
        scheduler.graph_came(client, keys, tasks)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Note a worker that came."""
        scheduler.worker_came(scheduler.workers[worker])

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Note a worker that went."""
        scheduler.worker_went(worker)


class JournaledScheduler(Scheduler):
    """A scheduler with a journal.

    Parameters
    ----------
    journal : callable
        ``journal(type, words, **facts)``, told of events.
    recorder : Recorder, optional
        The journal of its work, which is open. None: its work ends with it.
    contents : Contents, optional
        What a predecessor left.
    **kwargs
        As :class:`distributed.Scheduler` takes them.
    """

    def __init__(
        self,
        *,
        journal: Callable[..., None],
        recorder: Recorder | None = None,
        contents: Contents | None = None,
        **kwargs: Any,
    ) -> None:
        self.recorder = recorder
        self.resumption = Resumption(self, contents or Contents(), journal)
        self._told: dict[str, Stamp] = {}  # by address of a worker that can outlive us: the stamp that it knows
        self._names: dict[str, str] = {}
        self._keeps: str | None = None  # a client whose keys are released, and are not
        super().__init__(**kwargs)
        self.registered = Registered(self, recorder, journal)
        self.add_plugin(Journaling())
        if recorder is None:
            return
        for handlers in (self.handlers, self.stream_handlers):
            for operation in self.registered.watched(handlers):
                handlers[operation] = self._noting(handlers[operation])
        self.periodic_callbacks["daskd-journal"] = PeriodicCallback(self._look_at_journal, _TICK_MS)

    def wanter(self, client: str) -> str:
        """Tell under which id the journal has what a client wants."""
        return client

    def submitted(self, client: str, keys: Collection[Key]) -> None:
        """A graph is there, and in the journal."""

    @property
    def resumable(self) -> tuple[bool, str]:
        """Whether the cluster's work would survive this scheduler's death, and why not."""
        if self.recorder is None:
            return False, "it keeps no journal"
        return not self.recorder.given_up, self.recorder.given_up

    async def resume(self) -> None:
        """Bring back what a predecessor left."""
        await self.registered.restore_plugins()
        await self.resumption.run()

    def _look_at_journal(self) -> None:
        if self.recorder is not None and self.resumption.is_open:
            self.recorder.tick(self.tasks, idle=not self.tasks)

    def _noting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Have what a handler changes noted. Its signature stays: distributed looks at it."""

        @functools.wraps(handler)
        async def noting(*args: Any, **kwargs: Any) -> Any:
            result = handler(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            self.registered.note()
            return result

        return noting

    # -- what is written -----------------------------------------------------------------------

    @property
    def _records(self) -> Recorder | None:
        """The journal, while what happens is to be written: a replay is in it already, an end releases everything."""
        return self.recorder if self.resumption.replayed.is_set() and self.status == Status.running else None

    async def update_graph(self, client: str, *args: Any, **kwargs: Any) -> None:
        """Keep a graph as it came until it is there; see :meth:`graph_came`.

        The base class is given it as keyword arguments, as handlers are.
        """
        if _submission.get() is not None:  # a replay
            await super().update_graph(client, *args, **kwargs)
            return
        await self._submit(Submission(client, kwargs), *args, **kwargs)

    async def _submit(self, submission: Submission, *args: Any, **kwargs: Any) -> None:
        token = _submission.set(submission)
        try:
            await super().update_graph(submission.client, *args, **kwargs)
        finally:
            submission.done = True
            _submission.reset(token)

    def is_submitting(self, client: str) -> bool:
        """Whether it is a graph of this client's that is just taken."""
        submission = _submission.get()
        return submission is not None and not submission.done and submission.client == client

    def graph_came(self, client: str, keys: Collection[Key], touched: Collection[Key]) -> None:
        """Write a graph whose tasks are there, and of which no worker knows yet."""
        submission = _submission.get()
        if submission is None or submission.done:
            return
        if submission.stamp is not None:
            self.resumption.born(touched, submission.stamp)
            if self.recorder is not None:
                self.recorder.replayed(submission.stamp, touched)
        elif (records := self._records) is not None:
            arguments, frames = packed(submission.arguments)
            records.graph(self.wanter(client), keys, touched, arguments, frames)
        self.submitted(client, keys)

    def note_wanted(self, client: str, keys: Collection[Key]) -> None:
        """Write that a client wants keys."""
        if keys and (records := self._records) is not None:
            records.wanted(self.wanter(client), keys)

    def note_released(self, client: str, keys: Collection[Key]) -> None:
        """Write that a client wants keys no more."""
        if keys and (records := self._records) is not None:
            records.released(self.wanter(client), keys)

    def client_desires_keys(self, keys: Collection[Key], client: str) -> None:
        """Note what a client wants. A graph's own keys are in its record."""
        super().client_desires_keys(keys=keys, client=client)
        if not self.is_submitting(client):
            self.note_wanted(client, keys)

    @contextlib.contextmanager
    def not_released(self, client: str | None) -> Iterator[None]:
        """Within, what this client releases stays wanted: somebody holds it for it."""
        self._keeps = client
        try:
            yield
        finally:
            self._keeps = None

    def _client_releases_keys(self, keys: Collection[Key], cs: ClientState, recommendations: dict[Key, Any]) -> None:
        """Note what a client wants no more. All ways of releasing lead here, those of the base class's own too."""
        super()._client_releases_keys(keys=keys, cs=cs, recommendations=recommendations)
        if cs.client_key != self._keeps:
            self.note_released(cs.client_key, keys)

    def update_data(self, *, who_has: dict[Key, list[str]], nbytes: dict[Key, int], client: str | None = None) -> None:
        """Note data that no task makes, and let those who hold it know that it counts from now on."""
        if (records := self._records) is not None:
            records.scattered({key: nbytes.get(key, -1) for key in who_has})
        super().update_data(who_has=who_has, nbytes=nbytes, client=client)
        for address in {one for each in who_has.values() for one in each}:
            self.tell_stamp(address)

    async def register_scheduler_plugin(self, plugin: Any, name: str | None = None, **kwargs: Any) -> None:
        """Note a plugin that a client registers, which comes pickled; what is registered here is registered anew."""
        await super().register_scheduler_plugin(plugin, name=name, **kwargs)
        if isinstance(plugin, bytes) and name:
            self.registered.scheduler_plugin(name, plugin)

    async def register_plugin_again(self, name: str, plugin: bytes) -> None:
        """Register a plugin that a client registered before."""
        await super().register_scheduler_plugin(plugin, name=name, idempotent=True)

    # -- workers that can outlive their scheduler ----------------------------------------------

    def worker_came(self, ws: WorkerState) -> None:
        """Note a worker that came, what it kept, and whether it can outlive us.

        What a worker tells of itself is in its ``extra``, which is shown to clients: what it kept is taken out.
        """
        can_outlive = KEPT in ws.extra
        told = ws.extra.pop(KEPT, None)
        self._names[ws.address] = str(ws.name)
        if self.recorder is not None:
            self.recorder.noted(WORKER, str(ws.name), True)
        if can_outlive and self.recorder is not None:
            self._told[ws.address] = (-1, 0)
        elif can_outlive:
            self.worker_send(ws.address, {"op": STAMP, "run": "", "stamp": (0, 0)})
        self.resumption.worker_came(ws, told)
        if not self.resumption.holds_data_of(ws.address):
            self.tell_stamp(ws.address)

    def worker_went(self, address: str) -> None:
        """Note a worker that went."""
        self._told.pop(address, None)
        self.resumption.worker_went(address)
        name = self._names.pop(address, None)
        if name is not None and self.recorder is not None and self.status == Status.running:
            self.recorder.noted(WORKER, name, None)

    def workers_missing(self, names: Collection[str]) -> None:
        """Note workers that did not come back."""
        for name in names:
            if self.recorder is not None:
                self.recorder.noted(WORKER, name, None)

    def tell_stamp(self, address: str) -> None:
        """Let a worker know which graphs have come: it has been told of all that was forgotten before."""
        recorder = self.recorder
        if recorder is None or address not in self._told or self.resumption.holds_data_of(address):
            return
        if self._told[address] != recorder.stamp:
            self._told[address] = recorder.stamp
            self.worker_send(address, {"op": STAMP, "run": recorder.run, "stamp": recorder.stamp})

    def send_all(self, client_msgs: Any, worker_msgs: Any) -> None:
        """Send what transitions brought about; before a worker is given a task it learns which graphs have come.

        The base class calls this with all messages of a round of transitions, those that give tasks among them.
        """
        if self._told:
            for address in worker_msgs:
                self.tell_stamp(address)
        super().send_all(client_msgs, worker_msgs)

    def add_keys(self, worker: str, keys: Collection[Key] = (), stimulus_id: str | None = None) -> Any:
        """Learn that a worker has keys. What it kept is not looked at yet: the base class would have it dropped."""
        if self.resumption.holds_data_of(worker):
            return "OK"
        return super().add_keys(worker, keys=keys, stimulus_id=stimulus_id)

    def handle_worker_status_change(self, status: Any, worker: str | WorkerState, stimulus_id: str) -> None:
        """Let a worker run only when all is brought back; until then the base class gives it nothing."""
        address = worker if isinstance(worker, str) else worker.address
        if not self.resumption.hold_status(address, status, stimulus_id):
            super().handle_worker_status_change(status, worker, stimulus_id)

    def _remove_key(self, key: Key) -> None:
        """Forget a task."""
        self.resumption.forgotten(key)
        super()._remove_key(key)

    # -- what the resumption does --------------------------------------------------------------

    async def submit_again(self, stamp: Stamp, client: str, arguments: dict[str, Any]) -> None:
        """Take a graph of the predecessor's."""
        await self._submit(Submission(client, {}, stamp), **arguments)

    def want_again(self, client: str, keys: Collection[Key]) -> None:
        """Have a client want keys as it did before."""
        Scheduler.client_desires_keys(self, keys=keys, client=client)

    def release_again(self, client: str, keys: Collection[Key]) -> None:
        """Have a client want keys no more."""
        self.client_releases_keys(keys=list(keys), client=client, stimulus_id=f"daskd-resume-{time.time()}")

    def take_scattered(self, stamp: Stamp, who_has: dict[Key, list[str]], nbytes: dict[Key, int]) -> None:
        """Know data that workers kept and no task makes."""
        Scheduler.update_data(self, who_has=who_has, nbytes=nbytes)
        if self.recorder is not None:
            self.recorder.replayed(stamp, tuple(who_has))

    def take_kept(self, ws: WorkerState, kept: Mapping[Key, tuple[int, str]]) -> set[Key]:
        """Take of what a worker kept what tasks wait for as their results; return which.

        Relies on ``_add_to_memory``, which is what the base class's own transitions to memory end with: it lets
        dependents know, and recommends what follows.
        """
        recommendations: dict[Key, Any] = {}
        client_msgs: dict[str, Any] = {}
        taken: set[Key] = set()
        for key, (nbytes, typename) in kept.items():
            ts = self.tasks.get(key)
            if ts is None or ts.actor:
                continue
            if ts.state == "memory":
                self.add_replica(ts, ws)
                taken.add(key)
            elif ts.state in _AWAITED and (ts.waiters or ts.who_wants):
                self._leave_waiting(ts)
                ts.set_nbytes(nbytes)
                messages: dict[str, Any] = {}
                self._add_to_memory(ts, ws, recommendations, messages, type=None, typename=typename)
                for client, each in messages.items():
                    client_msgs.setdefault(client, []).extend(each)
                taken.add(key)
        # a task that was ready to run when the last that it waited for was taken may have been taken itself since
        follows = {k: to for k, to in recommendations.items() if to == "released" or self.tasks[k].state != "memory"}
        self.send_all(client_msgs, {})
        self.transitions(follows, f"daskd-resume-{time.time()}")
        return taken

    def _leave_waiting(self, ts: TaskState) -> None:
        """Take a task out of where it waits, as its transitions to ``released`` do."""
        if ts.waiting_on:
            ts.waiting_on.clear()
        if ts.state == "queued":
            self.queued.discard(ts)
        elif ts.state == "no-worker":
            if isinstance(self.unrunnable, dict):
                self.unrunnable.pop(ts, None)
            else:
                self.unrunnable.discard(ts)

    def let_go(self, ws: WorkerState, keys: Collection[Key]) -> None:
        """Have a worker let go of what it kept and nobody needs."""
        if keys:
            message = {"op": "free-keys", "keys": list(keys), "stimulus_id": f"daskd-resume-{time.time()}"}
            self.worker_send(ws.address, message)
