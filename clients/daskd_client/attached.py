"""The part of a cluster object that comes to its cluster, knows of it, and leaves it."""

from __future__ import annotations

import asyncio
import html
import logging
import sys
import threading
import urllib.parse
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from distributed import Client
from distributed.core import Status
from distributed.deploy.cluster import Cluster as BaseCluster
from distributed.security import Security
from distributed.utils import NoOpAwaitable, format_dashboard_link, sync

from . import types
from .api import AsyncDaskd
from .blocking import run_blocking
from .creation import Opening
from .defaults import choice, seconds, setting
from .errors import ClusterNotFound, DaskdError
from .exit import keep_at_exit
from .progress import Silent, make_progress
from .release import own_release, skew
from .versions import VersionMismatch
from .view import ClusterView
from .waiting import wait_for_end, wait_for_start

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_LINK_LEFT = timedelta(seconds=10)  # how long a link that is shown shall still be good
_LINK_WITHIN = 5.0  # seconds that a repr may wait for a link
_ENDED_WITHIN = 120.0  # seconds for `shutdown` to see the cluster gone
_USERS_LINE = 4  # up from `_warn`: by `_begin`, and `RemoteCluster` or `attach`


class AttachedCluster(BaseCluster):
    """A cluster that belongs to the daemon, as far as coming, knowing and leaving go; see `RemoteCluster`.

    It keeps to the interface of ``distributed``'s class and to almost nothing of its inside: that one starts by
    subscribing to worker status under a name that a scheduler gives to one object only, and writes to the scheduler
    each second what several attached objects would overwrite for each other.
    """

    shutdown_on_close = False

    if TYPE_CHECKING:
        # What distributed's class has without types.
        name: str

        def __enter__(self) -> Self: ...
        async def __aenter__(self) -> Self: ...

    # -- its life ------------------------------------------------------------------------------------------------------

    def _begin(
        self,
        opening: Opening,
        *,
        on_exit: str | None,
        address: str | None,
        token: str | None,
        asynchronous: bool,
        loop: Any,
        shutdown_on_close: bool,
        start_timeout: Any,
        quiet: bool,
    ) -> None:
        self._adaptive: Any = None
        self._dashboard_link = types.DashboardLink()
        self.on_exit = choice("on-exit", on_exit, ("keep", "release"))
        self.shutdown_on_close = shutdown_on_close
        self._start_timeout = seconds("start_timeout", setting("start-timeout", start_timeout))
        self._opening = opening
        self._start_error: Exception | None = None
        self._starting: asyncio.Future[None] | None = None
        self._running: set[asyncio.Future[Any]] = set()
        self._mismatches: list[str] = []
        ended = weakref.WeakMethod(self._cluster_ended)
        self._view = ClusterView(AsyncDaskd(address, token), lambda: _call(ended()))
        self._progress = Silent() if quiet else make_progress(setting("progress"))
        super().__init__(asynchronous=asynchronous, loop=loop, quiet=quiet, name=opening.name or None)
        keep_at_exit(self)
        self._owns_loop = not asynchronous
        if self._owns_loop:
            self._loop_runner.start()
            try:
                self.sync(self._started)
            except BaseException:
                # Ctrl-C included: the cluster is the daemon's, but the thread is ours to end.
                self._loop_runner.stop()
                raise
            finally:
                self._warn(_USERS_LINE)

    def __await__(self) -> Generator[Any, Any, Self]:
        async def started() -> Self:
            await self._started()
            return self

        return started().__await__()

    async def _started(self) -> None:
        """Have it started once, however many wait for that."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        if self._starting.done():
            self._starting.result()
        else:
            await asyncio.shield(self._starting)

    async def _start(self) -> None:
        """Find or make the cluster, wait for its scheduler, connect."""
        # The base class's own subscribes to worker status under a name that only one object may have: see ClusterView.
        daskd = self._view.daskd
        try:
            # asked first: what comes next may fail for it
            self._mismatches.append(skew(own_release(), await daskd.info()))
            record = await self._opening.open(daskd)
            self._cluster_info["name"] = record.name
            try:
                record = await wait_for_start(daskd, record, self._start_timeout, self._progress.show)
            finally:
                self._progress.done()
            await self._view.open(record)
            self._mismatches.append(self._view.mismatch())
        except Exception as error:
            # Client(cluster) swallows what its cluster raises here, and would wait for a scheduler that never comes:
            # `scheduler_address` tells it.
            self._start_error = error
            self.status = Status.failed
            await self._view.close()
            self._warn_in_loop()
            raise
        self.status = Status.running
        self._warn_in_loop()

    def _warn_in_loop(self) -> None:
        # an object with a loop of its own tells in the user's thread, where the line shown is the user's, too
        if not self._owns_loop:
            self._warn()

    def _warn(self, stacklevel: int = 2) -> None:
        """Tell once which versions do not go together."""
        found, self._mismatches = self._mismatches, []
        for words in filter(None, found):
            warnings.warn(words, VersionMismatch, stacklevel=stacklevel)

    def close(self, timeout: float | None = None) -> Any:
        """Detach from the cluster, which goes on; with `shutdown_on_close`, end it.

        ``Client(cluster).shutdown()`` calls this too, and means its end.
        """
        ends = self.shutdown_on_close or _is_client_shutdown(sys._getframe(1))
        return self._leave(self._end if ends else self._close, timeout)

    def shutdown(self, timeout: float | None = _ENDED_WITHIN) -> Any:
        """End the cluster for everybody, and wait until it is gone.

        Parameters
        ----------
        timeout
            Seconds to wait. None: as long as it takes.

        Raises
        ------
        DeadlineExceeded
            It is being ended, but is not gone yet.
        """
        if self.status is Status.closed:  # left before, and may run on
            return self.sync(self._end_record, timeout)
        return self._leave(lambda: self._end(timeout), None)

    def _leave(self, how: Callable[[], Awaitable[None]], timeout: float | None) -> Any:
        if self.status is Status.closed:
            return NoOpAwaitable() if self.asynchronous else self._loop_runner.stop()
        try:
            done = self.sync(how, callback_timeout=timeout)
        except RuntimeError:
            return None  # the loop was closed at the process's end, and the connections with it
        finally:
            if not self.asynchronous:
                self._loop_runner.stop()
        return done

    async def _end(self, timeout: float | None = _ENDED_WITHIN) -> None:
        if not self.uid:  # this object has not come to its cluster yet
            await self._started()
        self.status = Status.closing
        try:
            await self._end_record(timeout)
        finally:
            await self._close()

    async def _end_record(self, timeout: float | None) -> None:
        with suppress(ClusterNotFound):  # so long gone that it is forgotten
            await wait_for_end(self._view.daskd, await self._view.daskd.delete(self.uid), timeout)

    async def _close(self) -> None:
        if self.status is Status.closed:
            return
        self.status = Status.closing
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        await self._view.close()
        for callback in self.periodic_callbacks.values():
            callback.stop()
        self.status = Status.closed

    def _cluster_ended(self) -> None:
        """The cluster is gone, whoever ended it: clients shall not try to reach its scheduler again."""
        if self.status is Status.running:
            self.status = Status.closing
            self._keep_task(asyncio.ensure_future(self._close()))

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.close()

    async def __aexit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        await (self._end() if self.shutdown_on_close else self._close())

    def __del__(self) -> None:
        # Being forgotten is one way of leaving, hence no warning; what follows the cluster ends with the object.
        if getattr(self, "status", Status.closed) is not Status.running or sys.is_finalizing():
            return
        with suppress(RuntimeError):  # the loop is gone already
            if self._owns_loop:
                # From a thread: this may be any, and the loop's own must not wait for its end.
                forget = partial(_forget, self._view, self.loop, self._loop_runner)
                threading.Thread(target=forget, name="daskd-forget", daemon=True).start()
            else:
                self.loop.add_callback(self._view.close)

    # -- what is known of it -------------------------------------------------------------------------------------------

    @property
    def scheduler_info(self) -> Any:
        """The scheduler's account of itself and its workers, a second old at most while it answers."""
        return self._view.scheduler_info

    @scheduler_info.setter
    def scheduler_info(self, info: Any) -> None:
        self._view.scheduler_info = info

    @property
    def scheduler_comm(self) -> Any:
        """A connection to the scheduler; None until there is one."""
        return self._view.comm

    @scheduler_comm.setter
    def scheduler_comm(self, comm: Any) -> None:
        self._view.comm = comm

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler is. Raises what kept the cluster from starting, if anything did."""
        if self._start_error is not None:
            raise self._start_error
        return self._view.connection.scheduler_address or "<Not Connected>"

    @property
    def security(self) -> Security:
        """The keys to the cluster's own authority; they come once it runs, and reach whoever has this by then.

        Raises
        ------
        IncompatibleVersions
            A client in this process could have nothing computed there.
        """
        self._view.check_versions()
        return self._view.security

    @property
    def uid(self) -> str:
        """The cluster's identity, which reaches it after its end too."""
        return self._view.record.uid

    @property
    def record(self) -> types.Cluster:
        """What the daemon last said of the cluster."""
        return self._view.record

    @property
    def dashboard_link(self) -> str:
        """The URL of Dask's dashboard, by ``distributed.dashboard.link`` of the configuration; empty without one.

        One that the daemon serves asks for a login. The URL is then one that logs a browser in as you, once, and soon:
        another is made when that one is too old. Within the event loop it is the dashboard's plain URL, for who is
        logged in.
        """
        link = self._view.connection.dashboard_link
        url = urllib.parse.urlsplit(link)
        if url.path.startswith("/clusters/"):
            return self._login_link() or link
        if url.path.strip("/") not in ("", "status") or not url.port:
            return link  # a proxy's, which knows its own way
        return str(format_dashboard_link(url.hostname, url.port))

    def _login_link(self) -> str:
        """A link that logs a browser in; empty where it can't be waited for, or the daemon makes none.

        It is asked for at every repr of a cluster or its client, so each is kept while it is good.
        """
        made = self._dashboard_link
        if made.expire_time is not None and made.expire_time - datetime.now(timezone.utc) > _LINK_LEFT:
            return made.link
        if self.asynchronous or self.status is not Status.running:
            return ""
        try:
            made = self.sync(self._view.daskd.dashboard_link, self.uid, callback_timeout=_LINK_WITHIN)
        except (DaskdError, asyncio.TimeoutError) as error:
            logger.info("No link to the dashboard of cluster %s: %s", self.name, error)
            return ""
        self._dashboard_link = made
        return made.link

    @property
    def workers(self) -> dict[str, Any]:
        """What is known of each worker that has joined, by its name."""
        return {str(worker["name"]): worker for worker in self.scheduler_info["workers"].values()}

    def _scaling_status(self) -> str:
        record = self._view.record
        mode = "Adaptive" if any(group.adaptive is not None for group in record.groups) else "Manual"
        joined, desired = len(self.scheduler_info["workers"]), sum(group.desired for group in record.groups)
        count = f"{joined}" if joined == desired else f"{joined} / {desired}"
        facts = [f"Scaling mode: {mode}", f"Workers: {count}"]
        facts += [f"Cannot run: {html.escape(tasks.message)}" for tasks in record.unplaceable_tasks]
        rows = "".join(f'<tr><td style="text-align: left;">{fact}</td></tr>' for fact in facts)
        return f"<table>{rows}</table>"

    def __repr__(self) -> str:
        if self._start_error is not None:
            return f"{self._cluster_class_name}({self.name}, failed)"
        return str(super().__repr__())

    def get_snippet(self) -> str:
        """Code that attaches to this cluster, as dask-ctl shows it."""
        return (
            "from daskd_client import RemoteCluster\n\n"
            f"cluster = RemoteCluster.attach({self.name!r})\nclient = cluster.get_client()\n"
        )

    # -- how it is done ------------------------------------------------------------------------------------------------

    def sync(self, func: Callable[..., Any], *args: Any, callback_timeout: Any = None, **kwargs: Any) -> Any:
        """Run a coroutine function: wait for it, or hand out what is awaited within the event loop.

        A closed object's loop has ended with it; what is asked of the daemon alone, such as logs, needs none.
        """
        if self.status is Status.closed and self.loop.asyncio_loop.is_closed():
            return run_blocking(func(*args, **kwargs))
        return super().sync(func, *args, callback_timeout=callback_timeout, **kwargs)

    def _do(self, function: Callable[..., Awaitable[None]], *args: Any) -> Any:
        """Run and wait; or, in the event loop, run as a task that may be awaited but is not always (widgets do not)."""
        if not self.asynchronous:
            return self.sync(function, *args)
        return self._keep_task(asyncio.ensure_future(function(*args)))

    def _keep_task(self, task: asyncio.Future[Any]) -> asyncio.Future[Any]:
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def _is_client_shutdown(frame: FrameType) -> bool:
    """Whether the code that calls is ``Client._shutdown``, the one caller of `close` that means the cluster's end."""
    code: CodeType = Client._shutdown.__code__
    return frame.f_code is code


def _forget(view: ClusterView, loop: Any, runner: Any) -> None:
    """Stop following a cluster whose object is gone, and the object's loop, unless a client still uses it."""
    with suppress(RuntimeError, asyncio.TimeoutError):
        sync(loop, view.close, callback_timeout=10)
    runner.stop()


def _call(function: Callable[[], None] | None) -> None:
    if function is not None:
        function()
