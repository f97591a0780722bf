"""The node: one process, and one event loop, that hold the nannies of an instance's workers."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import dask.config
from distributed import Worker
from distributed.core import Status
from distributed.security import Security

from . import forkserver
from .exits import Ended, ExitCode
from .joining import Hub
from .nanny import NannyEnd, Pace, PacedNanny, cause_in_words
from .reach import PROBE_TIMEOUT, Unreachable, make_security, probe
from .report import Report, scheduler_address, write_report
from .spec import NodeSpec
from .survivor import SurvivingWorker, surviving

logger = logging.getLogger("daskd.node")

# A worker is asked to close, and killed after 0.8 of this: the hub has moved its data before.
CLOSE_TIMEOUT = 2.0
CLOSE_ALL_TIMEOUT = 8.0
RETRY_FIRST = 0.1
RETRY_MOST = 1.0


def prepare_environment(spec: NodeSpec) -> None:
    """Set what must stand before the forkserver starts: Dask's configuration, threads of BLAS and the like.

    Nannies set the environment for workers too, but of a forked worker libraries are loaded already.
    """
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    if not spec.dashboard:
        dask.config.set({"distributed.worker.http.routes": []})
    forkserver.complete(os.environ)


def load_worker_class(name: str | None) -> type[Worker] | None:
    """The class of the workers that a spec names, found as the node's own imports are; None for distributed's.

    Raises
    ------
    Ended
        If it can't be imported, or is no worker's.
    """
    if name is None:
        return None
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # an import runs foreign code, which may raise anything
        words = f"the worker class {name!r} can't be imported: {type(error).__name__}: {error}"
        raise Ended(ExitCode.FAILED, words) from error
    if not (isinstance(found, type) and issubclass(found, Worker)):
        raise Ended(ExitCode.FAILED, f"the worker class {name!r} is no subclass of distributed.Worker")
    return found


def worker_arguments(spec: NodeSpec, name: str, host: str | None) -> dict[str, Any]:
    """What a spec says to a worker's nanny that listens on that host, its own options aside."""
    return {
        "name": name,
        "host": host,
        "nthreads": spec.nthreads,
        "memory_limit": spec.memory_limit,
        "resources": dict(spec.resources) or None,
        "local_directory": spec.local_directory,
        "death_timeout": spec.death_timeout,
        "preload": list(spec.preload) or None,  # None: as Dask's configuration says
        "dashboard": spec.dashboard,
        "dashboard_address": "127.0.0.1:0",  # Dask's pages ask nobody who they are
    }


class Node:
    """Joins the scheduler, keeps the workers, and knows when to end.

    Parameters
    ----------
    spec : NodeSpec
        What it is told.
    directory : str
        The instance's directory, for `report.json`.
    worker_class : type, optional
        The class of its workers. None: distributed's own.
    """

    def __init__(self, spec: NodeSpec, directory: str, worker_class: type[Worker] | None = None) -> None:
        self._spec = spec
        self._directory = directory
        self._worker_class = worker_class
        self._security: Security
        self._hub: Hub
        self._nannies: set[PacedNanny] = set()
        self._asked = asyncio.Event()
        self._joining = asyncio.Lock()
        self._joined_at = 0.0
        self._phase = "starting"
        self._failure: str | None = None

    async def run(self) -> ExitCode:
        """Hold workers until told to end (by SIGTERM, or by each worker's retirement).

        Raises
        ------
        Ended
            If the scheduler is not reached, refuses this node, or is gone.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked.set)
        self._report("starting")
        work = asyncio.create_task(self._work())
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                logger.info("every worker was told to close")
        finally:
            asked.cancel()
            work.cancel()
            self._report("ending")
            await asyncio.gather(work, return_exceptions=True)
            await self._close_nannies()
        return ExitCode.OK

    async def _work(self) -> None:
        self._security = make_security(self._spec.tls)
        try:
            self._hub = Hub(self._security, self._spec)
        except OSError as error:  # ssl.SSLError is one
            words = f"this node's certificates can't be read: {error}; they are damaged or were not delivered"
            raise Ended(ExitCode.TLS_REFUSED, words) from error
        await self._join(self._spec.join_timeout, ExitCode.NOT_REACHED)
        parts = (self._keep_all(), self._hub.deliver(), self._watch_scheduler())
        tasks = {asyncio.create_task(part) for part in parts}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancel(tasks)
            self._hub.leave()

    async def _keep_all(self) -> None:
        tasks = {asyncio.create_task(self._keep(name)) for name in self._spec.workers}
        try:
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)

    async def _join(self, seconds: float, otherwise: ExitCode) -> None:
        """Join within `seconds`, telling at once what is in the way, or end with the code `otherwise`."""
        deadline = time.monotonic() + seconds
        pause = RETRY_FIRST
        while True:
            left = deadline - time.monotonic()
            try:
                address = self._find_scheduler()
                await probe(address, self._security, min(PROBE_TIMEOUT, max(left, 0.5)))
                await self._hub.join(address)
            except Unreachable as cause:
                self._note(cause.words)
                if left <= 0:
                    code = ExitCode.TLS_REFUSED if cause.step == "tls" else otherwise
                    raise Ended(code, f"tried for {seconds:g} s; {cause.words}") from cause
            else:
                self._joined_at = time.monotonic()
                logger.info("joined the scheduler at %s", address)
                self._failure = None
                self._report("running")
                return
            await asyncio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(pause * 2, RETRY_MOST)

    def _find_scheduler(self) -> str:
        if self._spec.scheduler is not None:
            return self._spec.scheduler
        assert self._spec.scheduler_report is not None
        address, words = scheduler_address(self._spec.scheduler_report)
        if address is None:
            raise Unreachable("address", words)
        return address

    async def _regain(self, lost_at: float) -> None:
        """Find the scheduler again within `death_timeout`: a connection breaks, a scheduler is restarted."""
        async with self._joining:
            if self._joined_at <= lost_at:
                await self._join(self._spec.death_timeout, ExitCode.SCHEDULER_GONE)

    async def _keep(self, name: str) -> None:
        """Keep one worker: a nanny that ended unasked is replaced, until one was told to end."""
        pace = Pace()
        before: str | None = None
        while True:
            end, words = await self._live(name, pace, before)
            before = words
            if end is NannyEnd.TOLD:
                logger.info("worker %s was told to close", name)
                return
            if end is NannyEnd.LOST_SCHEDULER:
                logger.warning("worker %s lost its scheduler", name)
                await self._regain(time.monotonic())
                await asyncio.sleep(pace.ended(in_place=True))
                continue
            self._hub.tell("worker-failed", f"worker {name}: {words}")
            self._note(f"worker {name}: {words}", log=False)
            await asyncio.sleep(pace.ended(in_place=False))
            await self._check_scheduler()

    async def _watch_scheduler(self) -> None:
        """Notice a dead scheduler even while no worker can, as when a task holds the interpreter's lock."""
        while True:
            await self._hub.lost()
            logger.warning("the connection with the scheduler broke")
            await self._regain(time.monotonic())

    async def _check_scheduler(self) -> None:
        """A worker that fails may do so for want of a scheduler: then this node is to end, not to retry."""
        try:
            await probe(self._hub.address or self._find_scheduler(), self._security)
        except Unreachable:
            await self._regain(time.monotonic())

    async def _live(self, name: str, pace: Pace, before: str | None) -> tuple[NannyEnd, str]:
        """The life of one nanny: why it ended, and words where it ended unasked. `before`: how the last one ended."""
        nanny = None
        try:
            nanny = self._make_nanny(name, pace)
            self._nannies.add(nanny)
            await nanny
            event = "worker-started" if before is None else "worker-restarted"
            after = f", after this: {before}" if before else ""
            self._hub.tell(event, f"worker {name} at {nanny.worker_address}, process {nanny.pid}{after}")
            await nanny.finished()
        except Exception as error:  # a nanny's start raises whatever was raised in the worker's process
            words = nanny.failure if nanny and nanny.failure else cause_in_words(error)
            return NannyEnd.UNASKED, words
        finally:
            if nanny is not None and nanny.status in (Status.closed, Status.failed):
                self._nannies.discard(nanny)
        return nanny.end, nanny.failure or "its nanny closed unasked"

    def _make_nanny(self, name: str, pace: Pace) -> PacedNanny:
        return PacedNanny(
            self._hub.address,
            pace=pace,
            on_restart=lambda words: self._hub.tell("worker-restarted", f"worker {name}: {words}"),
            security=self._security,
            worker_class=self._worker_factory,
            **worker_arguments(self._spec, name, self._hub.host),
            **self._spec.worker_options,
        )

    @property
    def _worker_factory(self) -> Callable[..., Any]:
        own = self._worker_class
        return SurvivingWorker if own is None else functools.partial(surviving, own)

    async def _close_nannies(self) -> None:
        closing = [asyncio.ensure_future(n.close(timeout=CLOSE_TIMEOUT, reason="node-ends")) for n in self._nannies]
        if not closing:
            return
        done, late = await asyncio.wait(closing, timeout=CLOSE_ALL_TIMEOUT)
        for task in done:
            if error := task.exception():
                logger.warning("a nanny did not close in order: %s", cause_in_words(error))
        if late:
            logger.warning("%d workers did not close in %g s; they are killed", len(late), CLOSE_ALL_TIMEOUT)

    def _note(self, words: str, *, log: bool = True) -> None:
        """Put what is in the way into the report, and into the log when it is news."""
        if words == self._failure:
            return
        self._failure = words
        if log:
            logger.warning("%s", words)
        self._report(self._phase)

    def _report(self, phase: str) -> None:
        self._phase = phase
        try:
            write_report(self._directory, Report(self._spec.instance, phase, failure=self._failure))
        except OSError as error:
            logger.warning("report.json can't be written: %s", error)


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main(spec: NodeSpec, directory: str) -> ExitCode:
    """Run a node to its end.

    Raises
    ------
    Ended
        As `Node.run`, and `load_worker_class`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    prepare_environment(spec)
    forkserver.start()  # an ordinary one imports distributed while this process joins
    # not before: users' modules may start threads, with which the forkserver could not be forked
    worker_class = load_worker_class(spec.worker_class)
    return asyncio.run(_run(spec, directory, worker_class))


async def _run(spec: NodeSpec, directory: str, worker_class: type[Worker] | None) -> ExitCode:
    return await Node(spec, directory, worker_class).run()
