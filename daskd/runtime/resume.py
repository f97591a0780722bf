"""A scheduler goes on where its predecessor ended: the graphs again, and the results that workers kept.

In this order. Graphs are submitted anew in the order in which they came, each client's in the name of its holder, and
what was released is released; nothing runs meanwhile, for no worker counts as running. Workers that outlived the
predecessor come with what they kept: what of it a task waits for is that task's result. When all have come who were
there, or a bound is reached, the workers run, and compute what is left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .journal.history import set_aside
from .journal.reader import Contents
from .journal.records import Graph, Key, Noted, Released, Scattered, Stamp, Wanted
from .journal.submission import unpacked
from .keeper import HOLDER_PREFIX, is_worker_client

logger = logging.getLogger("daskd.scheduler")

REJOIN_SECONDS = 20.0
"""How long workers that were there are waited for, before the others run what they may have kept."""

WORKER = "worker"  # the kind of the note that a worker is there
KEPT = "daskd-kept"  # under which a worker tells what it kept, in what it tells of itself when it registers
STAMP = "daskd-stamp"  # the stream operation by which a worker learns which graphs had come when what follows was sent

_SAMPLE = 20
_QUEUE_PREFIX = "queue-"


@dataclass(frozen=True)
class Kept:
    """What a worker kept of the predecessor's life.

    Parameters
    ----------
    run : str
        The run of the cluster that made it.
    stamp : tuple
        The last that the predecessor told the worker: all that was let go before, the worker has let go.
    sizes : mapping
        Bytes of each key's value, and its type's name.
    """

    run: str
    stamp: Stamp
    sizes: Mapping[Key, tuple[int, str]]


def kept_of(told: Any) -> Kept | None:
    """Return what a worker told that it kept; None: nothing, or nothing that can be understood."""
    try:
        run, (number, count), sizes = told["run"], told["stamp"], told["sizes"]
        return Kept(str(run), (int(number), int(count)), {k: (int(n), str(t)) for k, (n, t) in sizes.items()})
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


@dataclass
class Outcome:
    """What came back, and what did not."""

    graphs: int = 0
    keys: int = 0
    lost: list[Key] = field(default_factory=list)
    kept: int = 0  # results that workers had kept


class Resumption:
    """Brings the work of a predecessor back.

    Parameters
    ----------
    scheduler : HubScheduler
        Which listens already.
    contents : Contents
        The predecessor's journal; empty: there is nothing to bring back.
    tell : callable
        ``tell(type, words, **facts)``, told of what came of it.
    """

    def __init__(self, scheduler: Any, contents: Contents, tell: Any) -> None:
        self._scheduler = scheduler
        self._contents = contents
        self._tell = tell
        self._aside = set_aside(contents.records)
        self._scattered = any(isinstance(record, Scattered) for record in contents.records)
        self._expected = self._of_kind(WORKER) if contents.graphs or self._scattered else {}
        self._all_came = asyncio.Event()
        self._kept: dict[str, Kept] = {}  # by address; of workers whose results are not taken yet
        self._statuses: dict[str, tuple[Any, str]] = {}  # by address; of workers that may not run yet
        self._born: dict[Key, Stamp] = {}  # of tasks that came back: the graph that defined them
        self._wants: dict[str, set[Key]] = {}
        self._outcome = Outcome()
        self.replayed = asyncio.Event()
        """The graphs are there again, and clients are let in."""
        self.is_open = not (contents.graphs or self._scattered)
        """Workers may run."""
        if self.is_open:
            self.replayed.set()

    def _of_kind(self, kind: str) -> dict[Any, Any]:
        found = {}
        for record in self._contents.records:
            if isinstance(record, Noted) and record.kind == kind:
                found[record.name] = record.value
        return {name: value for name, value in found.items() if value is not None}

    # -- what happens meanwhile ----------------------------------------------------------------

    def born(self, touched: Collection[Key], stamp: Stamp) -> None:
        """A graph was submitted again; what of it is new it has defined."""
        for key in touched:
            self._born.setdefault(key, stamp)

    def forgotten(self, key: Key) -> None:
        """A task is forgotten; another of the same key will be another one."""
        if self._born:
            self._born.pop(key, None)

    def worker_came(self, ws: Any, told: Any) -> None:
        """A worker has registered, and may have kept something."""
        kept = kept_of(told) if told else None
        if kept is not None:
            self._kept[ws.address] = kept
            if self.is_open:
                self._take_all()
        self._expected.pop(str(ws.name), None)
        if not self._expected:
            self._all_came.set()

    def worker_went(self, address: str) -> None:
        """A worker is gone."""
        self._kept.pop(address, None)
        self._statuses.pop(address, None)

    def hold_status(self, address: str, status: Any, stimulus_id: str) -> bool:
        """Whether a worker's new status has to wait until workers may run."""
        if self.is_open:
            return False
        self._statuses[address] = (status, stimulus_id)
        return True

    def holds_data_of(self, address: str) -> bool:
        """Whether what a worker kept is not looked at yet, and must not be let go as unknown."""
        return address in self._kept

    # -- bringing back -------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring everything back, and let workers run."""
        if self.is_open:
            return
        begin = time.monotonic()
        try:
            await self._bring_back(begin)
        except Exception as error:  # of a graph's code; a cluster that runs what is there is better than one that waits
            logger.exception("The predecessor's work could not be brought back")
            words = f"the predecessor's work could not be brought back: {type(error).__name__}: {error}"
            self._tell("resume-failed", words)
        finally:
            self.replayed.set()
            self._open()
        self._report(time.monotonic() - begin)
        # the graphs are in the journal, and need not be in memory as well; of workers that come late only this is asked
        self._contents = Contents(self._contents.header, damaged=self._contents.damaged)

    async def _bring_back(self, begin: float) -> None:
        if self._scattered:
            await self._wait_for_workers(begin)
        await self._replay()
        self.replayed.set()
        await self._wait_for_workers(begin)

    async def _wait_for_workers(self, begin: float) -> None:
        if not self._expected:
            return
        left = REJOIN_SECONDS - (time.monotonic() - begin)
        try:
            await asyncio.wait_for(self._all_came.wait(), max(left, 0.0))
        except asyncio.TimeoutError:
            names = ", ".join(sorted(map(str, self._expected))[:_SAMPLE])
            words = f"{len(self._expected)} workers that were there have not come back within {REJOIN_SECONDS:g} s"
            logger.warning("%s: %s", words, names)
            self._tell("workers-missing", f"{words}: what they held is computed again: {names}")
            self._scheduler.workers_missing(list(self._expected))

    async def _replay(self) -> None:
        for record in self._contents.records:
            if isinstance(record, Graph):
                await self._submit(record)
            elif isinstance(record, Scattered):
                self._scatter(record)
            elif isinstance(record, Wanted):
                self._want(record)
            elif isinstance(record, Released):
                self._release(record.client, record.keys)
        for client in [name for name in self._wants if is_worker_client(name) or name.startswith(_QUEUE_PREFIX)]:
            # a task's client is made anew when the task runs again; a queue is empty
            self._release(client, tuple(self._wants[client]))
        self._outcome.keys = len(set().union(*self._wants.values()))
        known = self._scheduler.tasks
        for client, keys in self._wants.items():
            lost = [key for key in keys if key not in known]
            self._outcome.lost += lost
            if lost and client.startswith(HOLDER_PREFIX):
                self._scheduler.keeper.lost_with_scheduler(client.removeprefix(HOLDER_PREFIX), lost)

    async def _submit(self, graph: Graph) -> None:
        self._note_wants(graph.client, graph.keys)
        if graph.stamp in self._aside:
            return
        if graph.arguments.get("actors"):
            return  # its state was the worker's alone: an actor that begins anew would be another one
        arguments = unpacked(graph.arguments, graph.frames)
        await self._scheduler.submit_again(graph.stamp, self._name(graph.client), arguments)
        self._outcome.graphs += 1

    def _scatter(self, record: Scattered) -> None:
        who_has: dict[Key, list[str]] = {}
        for address, kept in self._kept.items():
            if self._run and kept.run == self._run and kept.stamp >= record.stamp:
                for key in record.sizes:
                    if key in kept.sizes:
                        who_has.setdefault(key, []).append(address)
        if who_has:
            self._scheduler.take_scattered(record.stamp, who_has, {key: record.sizes[key] for key in who_has})
            self.born(who_has, record.stamp)

    @property
    def _run(self) -> str:
        # of a damaged journal nobody knows how old it is: what workers have may be newer
        return "" if self._contents.header is None or self._contents.damaged else self._contents.header.run

    def _want(self, record: Wanted) -> None:
        self._note_wants(record.client, record.keys)
        keys = [key for key in record.keys if key in self._scheduler.tasks]
        if keys:
            self._scheduler.want_again(self._name(record.client), keys)

    def _release(self, client: str, keys: Collection[Key]) -> None:
        self._wants.get(client, set()).difference_update(keys)
        name = self._name(client)
        if name in self._scheduler.clients:
            self._scheduler.release_again(name, [key for key in keys if key in self._scheduler.tasks])

    def _note_wants(self, client: str, keys: Collection[Key]) -> None:
        self._wants.setdefault(client, set()).update(keys)

    def _name(self, client: str) -> str:
        """The id of a wanter, which is in the scheduler again if it is a lost client's holder."""
        if client.startswith(HOLDER_PREFIX):
            self._scheduler.keeper.hold_again(client.removeprefix(HOLDER_PREFIX))
        return client

    def _open(self) -> None:
        self._take_all()
        self.is_open = True
        statuses, self._statuses = self._statuses, {}
        for address, (status, stimulus_id) in statuses.items():
            self._scheduler.handle_worker_status_change(status, address, stimulus_id)

    def _take_all(self) -> None:
        workers = self._scheduler.workers
        for address in list(self._kept):
            if address in workers:
                self._take(workers[address], self._kept[address])
            del self._kept[address]
            # not before it was told what to let go: it would count as knowing that
            self._scheduler.tell_stamp(address)

    def _take(self, ws: Any, kept: Kept) -> None:
        """Take of what a worker kept what is a task's result; it lets the rest go."""
        valid = {}
        if self._run and kept.run == self._run:
            born = self._born
            valid = {key: each for key, each in kept.sizes.items() if key in born and born[key] <= kept.stamp}
        taken: set[Key] = self._scheduler.take_kept(ws, valid)
        self._outcome.kept += len(taken)
        unwanted = [key for key in kept.sizes if key not in taken]
        self._scheduler.let_go(ws, unwanted)

    def _report(self, seconds: float) -> None:
        outcome = self._outcome
        words = (
            f"the scheduler goes on where its predecessor ended: {outcome.graphs} graphs, {outcome.keys} keys that are "
            f"wanted, {outcome.kept} results that workers kept"
        )
        if outcome.lost:
            sample = ", ".join(str(key)[:100] for key in outcome.lost[:_SAMPLE])
            words += f"; {len(outcome.lost)} keys could not be brought back: {sample}"
        if self._contents.trouble:
            words += f"; {self._contents.trouble}"
        facts = {"graphs": outcome.graphs, "keys": outcome.keys, "kept": outcome.kept, "lost": len(outcome.lost)}
        self._tell("resumed", words, seconds=round(seconds, 3), **facts)
        logger.info("%s", words)
