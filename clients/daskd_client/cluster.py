"""`RemoteCluster`: a cluster that the daemon owns, as an object that Dask's users know how to use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from distributed import Client
from distributed.core import Status
from distributed.metrics import time
from distributed.utils import Logs

from . import types
from .adaptive import RemoteAdaptive
from .attached import AttachedCluster
from .creation import CreateOrAttach, Find
from .defaults import choice, seconds, setting
from .errors import DeadlineExceeded, GroupNotFound, InvalidArgument
from .explanation import Explanation
from .held import take_over
from .logs import collect_logs
from .progress import describe
from .rebinding import RebindingClient
from .request import adaptive_policy, cluster_spec, worker_group
from .waiting import FailureWatch, end_error, failing_error, who_is_missing

logger = logging.getLogger(__name__)

_POLL = 0.1  # seconds between looks at who has joined
_ANSWER = 5.0  # seconds that a scheduler has to say who has joined


class RemoteCluster(AttachedCluster):
    """A Dask cluster that daskd owns: it outlives this object, this process, and the daemon's own restarts.

    Closing the object, leaving its context, garbage collection and the end of the process detach from the cluster;
    `shutdown` ends it, and so does ``Client(cluster).shutdown()``.

    Parameters
    ----------
    name
        Unique among your live clusters. None: one is made up.
    driver
        The system that launches the workers, ``"local"`` or another that the daemon has. None: the profile's.
    n_workers
        How many workers; with `adaptive`, at first.
    worker
        What each worker is like: ``nthreads``, ``memory_limit``, ``resources``, ``environment``, ``local_directory``,
        ``death_timeout``, ``preload``, ``worker_class`` (or its name), ``options`` (more keyword arguments of it).
    workers_per_node
        How many workers share one process tree, job or pod.
    options
        What this driver alone understands, for example ``{"queue": "main"}``.
    groups
        Several kinds of workers by name, each a mapping of the parameters of `add_worker_group`, instead of those here.
    profile
        The administrator's template that the spec is laid over.
    python, cwd
        Interpreter and working directory of scheduler and workers. By default, when the daemon runs on this machine,
        this process's, and its import path too, so that what can be imported here can be there.
    environment
        Environment variables of scheduler and workers.
    prologue
        Lines of shell that run before each process of workers, such as ``"module load gcc"``.
    scheduler
        What the scheduler is like: ``preload``, ``options`` (more keyword arguments of it), ``prologue``.
    adaptive
        The adaptive policy from the start: a mapping of the parameters of `adapt`.
    idle_timeout
        How long the cluster may compute nothing before `on_idle`: seconds or text such as ``"2h"``; 0: for ever. None:
        as the profile says.
    on_idle
        ``"delete"``: it ends. ``"scale_to_zero"``: its workers go, and the scheduler stays. None: as the profile says.
    on_scheduler_loss
        When its scheduler ends unasked: ``"resume"``, it goes on with its tasks and with the results that its workers
        kept; ``"restart"``, it begins empty; ``"fail"``, the cluster ends. None: as the profile says.
    max_lifetime
        End the cluster so long after its creation, whatever it computes: seconds or text such as ``"12h"``; 0: never.
        None: as the profile says.
    lifetime_warning
        How long before that end a `ClusterExpiring` warns of it, here and in every process that is attached; 0: not at
        all. None: ten minutes, at most a tenth of `max_lifetime`.
    held_work
        Bounds on a lost client's work: ``keep`` (a duration) and ``memory_share`` (0 to 1).
    dashboard
        Whether to serve Dask's dashboard. None: as the profile says.
    if_exists
        ``"error"``, or ``"attach"`` to use a live cluster of that name as it is.
    on_exit
        What becomes of unfinished work when this process ends: ``"keep"``, or ``"release"`` as other clusters do.
    address, token
        Where the daemon is; see `AsyncDaskd`.
    asynchronous
        For use within a running event loop: await the object, and its methods.
    loop
        The event loop to use, a running one of tornado. None: one of its own, in a thread.
    shutdown_on_close
        Whether `close` ends the cluster.
    start_timeout
        How long the scheduler may take to start: seconds or text such as ``"5 minutes"``.
    quiet
        Show nothing while it starts.

    Raises
    ------
    ClusterExists
        You have a live cluster of that name.
    InvalidSpec
        A parameter is wrong; ``problems`` says which and how.
    ClusterFailed
        It can't be started; the message says why, with the end of its log.
    DaemonUnavailable
        There is no daemon.
    DeadlineExceeded
        It took longer than `start_timeout`; the daemon goes on.

    Examples
    --------
    >>> from daskd_client import RemoteCluster  # doctest: +SKIP
    >>> cluster = RemoteCluster("etl", n_workers=4, worker={"nthreads": 1, "memory_limit": "1GiB"})  # doctest: +SKIP
    >>> client = cluster.get_client()  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        driver: str | None = None,
        n_workers: int | None = None,
        worker: Mapping[str, Any] | None = None,
        workers_per_node: int | None = None,
        options: Mapping[str, Any] | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        profile: str | None = None,
        python: str | None = None,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        prologue: str | Sequence[str] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        adaptive: Mapping[str, Any] | None = None,
        idle_timeout: Any = None,
        on_idle: str | None = None,
        on_scheduler_loss: str | None = None,
        max_lifetime: Any = None,
        lifetime_warning: Any = None,
        held_work: Mapping[str, Any] | None = None,
        dashboard: bool | None = None,
        if_exists: str | None = None,
        on_exit: str | None = None,
        address: str | None = None,
        token: str | None = None,
        asynchronous: bool = False,
        loop: Any = None,
        shutdown_on_close: bool = False,
        start_timeout: Any = None,
        quiet: bool = False,
    ) -> None:
        group = {
            "driver": driver,
            "n_workers": n_workers,
            "worker": worker,
            "workers_per_node": workers_per_node,
            "options": options,
            "adaptive": adaptive,
            "prologue": prologue,
        }
        spec = cluster_spec(
            profile=setting("profile", profile),
            groups=groups,
            group=group,
            python=python,
            cwd=cwd,
            environment=environment,
            idle_timeout=idle_timeout,
            on_idle=on_idle,
            on_scheduler_loss=on_scheduler_loss,
            max_lifetime=max_lifetime,
            lifetime_warning=lifetime_warning,
            held_work=held_work,
            dashboard=dashboard,
            scheduler=scheduler,
        )
        exists = choice("if-exists", if_exists, ("error", "attach"))
        self._begin(
            CreateOrAttach(name or "", spec, attach=exists == "attach"),
            on_exit=on_exit,
            address=address,
            token=token,
            asynchronous=asynchronous,
            loop=loop,
            shutdown_on_close=shutdown_on_close,
            start_timeout=start_timeout,
            quiet=quiet,
        )

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        on_exit: str | None = None,
        address: str | None = None,
        token: str | None = None,
        asynchronous: bool = False,
        loop: Any = None,
        shutdown_on_close: bool = False,
        start_timeout: Any = None,
        quiet: bool = False,
    ) -> RemoteCluster:
        """An object for a cluster that is there: by its name, its uid, or ``owner/name``.

        Raises
        ------
        ClusterNotFound
            There is none of that name that you may see.
        ClusterNotRunning, ClusterFailed
            It is on its way out, or has ended.
        """
        self = cls.__new__(cls)
        self._begin(
            Find(name),
            on_exit=on_exit,
            address=address,
            token=token,
            asynchronous=asynchronous,
            loop=loop,
            shutdown_on_close=shutdown_on_close,
            start_timeout=start_timeout,
            quiet=quiet,
        )
        return self

    @classmethod
    def from_name(cls, name: str, loop: Any = None, asynchronous: bool = False) -> RemoteCluster:
        """`attach`, as other cluster classes and dask-ctl call it."""
        return cls.attach(name, loop=loop, asynchronous=asynchronous)

    # -- what it is told -----------------------------------------------------------------------------------------------

    def scale(
        self, n: int | None = None, group: str | None = None, *, cores: int | None = None, memory: Any = None
    ) -> Any:
        """Set how many workers there are in a group (by default the first), and turn its adaptive policy off.

        Returns once the daemon has taken note; workers come and go afterwards.

        Parameters
        ----------
        n
            Workers.
        cores, memory
            Instead of `n`: threads, or memory (bytes, or text such as ``"64GiB"``), in whole workers, rounded up.
        """
        return self._do(self._scale, n, group or "", cores, None if memory is None else str(memory))

    async def _scale(self, n: int | None, group: str, cores: int | None, memory: str | None) -> None:
        await self._started()
        was_adaptive = self._group_is_adaptive(group)
        self._view.record = await self._view.daskd.scale(self.uid, n, group, cores=cores, memory=memory)
        if was_adaptive and not self._group_is_adaptive(group):
            logger.info("Cluster %s: scale() turned adaptive scaling of its workers off", self.name)
        self._adaptive = None

    def _group_is_adaptive(self, group: str) -> bool:
        try:
            return self._view.record.group(group).adaptive is not None
        except KeyError:  # the daemon will say so
            return False

    def add_worker_group(
        self,
        name: str,
        *,
        n_workers: int | None = None,
        worker: Mapping[str, Any] | None = None,
        driver: str | None = None,
        workers_per_node: int | None = None,
        options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        adaptive: Mapping[str, Any] | None = None,
        python: str | None = None,
        cwd: str | None = None,
        prologue: str | Sequence[str] | None = None,
    ) -> Any:
        """Add workers of another kind. Returns once the daemon has taken note; they come afterwards.

        Parameters
        ----------
        name
            The group's name within the cluster. A repeat with the same group is harmless.
        n_workers, worker, driver, workers_per_node, options, adaptive, prologue
            As for the cluster's own first group.
        environment
            Environment variables of these workers, over the cluster's.
        python, cwd
            Their interpreter, which must have ``distributed``, and their working directory. None: the cluster's.

        Raises
        ------
        GroupExists
            There is another group of that name.
        InvalidSpec
            A parameter is wrong; ``problems`` says which and how.

        Examples
        --------
        >>> cluster.add_worker_group("highmem", n_workers=2, worker={"memory_limit": "8GiB"})  # doctest: +SKIP
        """
        keywords = {
            "n_workers": n_workers,
            "worker": worker,
            "driver": driver,
            "workers_per_node": workers_per_node,
            "options": options,
            "environment": environment,
            "adaptive": adaptive,
            "python": python,
            "cwd": cwd,
            "prologue": prologue,
        }
        return self._do(self._add_worker_group, worker_group(name, keywords))

    async def _add_worker_group(self, group: types.WorkerGroupSpec) -> None:
        await self._started()
        self._view.record = await self._view.daskd.add_worker_group(self.uid, group)

    def remove_worker_group(self, name: str) -> Any:
        """Have a group of workers go: what they store moves to others, then they end.

        Returns once the daemon has taken note. The last group can't be removed: scale it to 0.

        Raises
        ------
        GroupNotFound
            There is none of that name.
        """
        return self._do(self._remove_worker_group, name)

    async def _remove_worker_group(self, name: str) -> None:
        await self._started()
        self._view.record = await self._view.daskd.remove_worker_group(self.uid, name)

    def adapt(
        self,
        minimum: int | None = None,
        maximum: int | None = None,
        *,
        minimum_cores: int | None = None,
        maximum_cores: int | None = None,
        minimum_memory: Any = None,
        maximum_memory: Any = None,
        interval: Any = None,
        wait_count: int | None = None,
        target_duration: Any = None,
        initial: int | None = None,
        cool_down: Any = None,
        group: str | None = None,
    ) -> RemoteAdaptive:
        """Let the number of workers of a group follow the work. The daemon applies it, whoever is connected.

        Parameters
        ----------
        minimum, maximum
            Never fewer, never more workers than these. None: 0, and the profile's limit.
        minimum_cores, maximum_cores, minimum_memory, maximum_memory
            The same in threads, and in memory (bytes, or text such as ``"64GiB"``). The strictest bound holds.
        interval
            How often to look: seconds or text such as ``"500ms"``.
        wait_count
            How many looks in a row must agree before a worker goes.
        target_duration
            How long the work in sight should take with the workers asked for.
        initial
            So many workers until the first work after they are there, then as the work asks.
        cool_down
            How long a worker stays after it was needed last.
        group
            The group that it applies to. None: the first.

        Returns
        -------
        RemoteAdaptive
            The policy, at once. With ``asynchronous=True`` it is awaitable: then the daemon has taken note.
        """
        policy = adaptive_policy(
            minimum=minimum,
            maximum=maximum,
            interval=interval,
            wait_count=wait_count,
            target_duration=target_duration,
            initial=initial,
            cool_down=cool_down,
            minimum_cores=minimum_cores,
            maximum_cores=maximum_cores,
            minimum_memory=None if minimum_memory is None else str(minimum_memory),
            maximum_memory=None if maximum_memory is None else str(maximum_memory),
        )
        self._adaptive = handle = RemoteAdaptive(policy)
        handle.noted = self._do(self._adapt, policy, group or "")
        return handle

    async def _adapt(self, policy: types.AdaptivePolicy, group: str) -> None:
        await self._started()
        self._view.record = await self._view.daskd.adapt(self.uid, policy, group)

    def explain(self) -> Any:
        """Why the cluster is as it is: what each group aims at and why, what waits for what; an `Explanation`."""
        return self.sync(self._explain)

    async def _explain(self) -> Explanation:
        await self._started()
        return await self._view.daskd.explain(self.uid)

    def job_script(self, group: str | None = None) -> Any:
        """The script that a batch system gets for workers of a group (by default the first), without what is secret.

        Empty for workers that are no jobs.

        Raises
        ------
        GroupNotFound
            There is none of that name.
        """
        return self.sync(self._job_script, group or "")

    async def _job_script(self, group: str) -> str:
        await self._started()
        for each in await self._view.daskd.job_scripts(self.uid):
            if group in ("", each.name):
                return each.script
        raise GroupNotFound(f"Cluster {self.name!r} has no worker group {group!r}.", facts={"group": group})

    def get_logs(self, cluster: bool = True, scheduler: bool = True, workers: bool | Iterable[str] = True) -> Any:
        """The logs of the cluster, also of what crashed or never started.

        Parameters
        ----------
        cluster, scheduler
            Whether to have what the daemon did (``Cluster``), and the scheduler's log (``Scheduler``).
        workers
            All, none, or those of these addresses or names.

        Returns
        -------
        Logs
            A dictionary of `Log` texts.
        """
        return self.sync(self._get_logs, cluster=cluster, scheduler=scheduler, workers=workers)

    async def _get_logs(
        self, cluster: bool = True, scheduler: bool = True, workers: bool | Iterable[str] = True
    ) -> Logs:
        await self._started()
        return await collect_logs(self._view.daskd, self.uid, cluster=cluster, scheduler=scheduler, workers=workers)

    async def _wait_for_workers(self, n_workers: int = 0, timeout: Any = None) -> None:
        await self._started()
        limit = seconds("timeout", timeout)
        deadline = None if limit is None else time() + limit
        failures = FailureWatch(self._view.record)
        while True:
            if self.status is not Status.running:
                raise await end_error(self._view.daskd, self._view.record)
            # one that does not answer is being ended, or started again: the record knows
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self._view.refresh(), _ANSWER)
            running = sum(w["status"] == Status.running.name for w in self.scheduler_info["workers"].values())
            if running >= n_workers:
                return
            if why := failures.hopeless(self._view.record, _needed(self._view.record, n_workers)):
                raise failing_error(self._view.record, why)
            if deadline is not None and time() > deadline:
                raise await self._too_late(running, n_workers, f"{limit:g} s")
            await asyncio.sleep(_POLL)

    async def _too_late(self, running: int, wanted: int, limit: str) -> DeadlineExceeded:
        record = self._view.record
        desired = sum(group.desired for group in record.groups)
        missing = await who_is_missing(self._view.daskd, record)
        if not missing and desired < wanted:
            missing = f"the cluster shall have {desired}: scale({wanted}) asks for more"
        words = ". ".join(filter(None, (f"{running} of {wanted} workers joined within {limit}", missing)))
        return DeadlineExceeded(
            f"{words}. {describe(record)}.", facts={"name": self.name, "running": str(running), "wanted": str(wanted)}
        )

    # -- work ----------------------------------------------------------------------------------------------------------

    def get_client(self) -> Client:
        """The current client if it is this cluster's, else a new `RebindingClient`.

        Its futures are bound again after a broken connection, where a plain ``Client(cluster)`` cancels them.

        Raises
        ------
        IncompatibleVersions
            This process's `distributed` and the cluster's do not understand each other.
        """
        with suppress(ValueError):
            current = Client.current()
            if current.cluster is self and current.status == "running":
                return current
        return RebindingClient(self, asynchronous=self.asynchronous)

    def recover(self, client: Client, lost: Collection[str] | None = None) -> Any:
        """Make futures for what lost clients were computing, running or done.

        Parameters
        ----------
        client
            Who gets the futures; a client of this cluster.
        lost
            Only these lost clients' work, by `HeldWork.client`. None: all.

        Returns
        -------
        dict
            The futures by their keys; empty when nothing was left. An awaitable of it where `client` is asynchronous.

        Raises
        ------
        HeldWorkUnsupported
            The scheduler is not one that daskd started.
        """
        if client.scheduler is None or client.scheduler.address != self.scheduler_address:
            raise InvalidArgument(f"{client!r} is not connected to cluster {self.name!r}: use Client(cluster).")
        return client.sync(take_over, client, lost)

    def lost_work(self) -> Any:
        """What lost clients left: a list of `HeldWork`, one for each of them."""
        return self.sync(self._lost_work)

    async def _lost_work(self) -> list[types.HeldWork]:
        await self._started()
        return await self._view.daskd.held_work(self.uid)

    def discard_lost_work(self, client: str | None = None) -> Any:
        """Let go of what lost clients left, or of one client's by its id; answers how much that was."""
        return self.sync(self._discard_lost_work, client)

    async def _discard_lost_work(self, client: str | None) -> types.Discarded:
        await self._started()
        return await self._view.daskd.discard_held_work(self.uid, client or "")


def _needed(record: types.Cluster, n_workers: int) -> dict[str, int]:
    """How many workers of each group it takes to have that many, if the other groups have all that they should."""
    desired = sum(group.desired for group in record.groups)
    return {group.name: group.desired - max(0, desired - n_workers) for group in record.groups}
