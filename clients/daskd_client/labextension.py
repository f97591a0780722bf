"""Dask's panel in JupyterLab (dask-labextension) shows the daemon's clusters.

Dask's configuration names two functions of this module: `panel_cluster` makes what the panel's NEW makes, and
`load_security` has the keys for the code that the panel inserts. `PanelList`, which our extension of the Jupyter server
starts, keeps the panel's list equal to the daemon's: clusters that were made elsewhere are in it, and those of a server
before this one come back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import weakref
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any

from distributed.core import Status
from distributed.security import Security

from .adaptive import RemoteAdaptive
from .api import AsyncDaskd
from .blocking import run_blocking
from .cluster import RemoteCluster
from .errors import ClusterNotRunning, DaemonUnavailable, DaskdError
from .security import LateSecurity
from .types import AdaptivePolicy, Cluster, Phase

logger = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds until a daemon that was not there is looked for again
_HAS_LEFT = (Status.closing, Status.closed, Status.failed)

# The manager of the panel hands nothing on to what it calls: what `PanelList` wants of that stands here meanwhile.
_showing: ContextVar[Cluster | None] = ContextVar("daskd_showing", default=None)
_taking_off: ContextVar[bool] = ContextVar("daskd_taking_off", default=False)

_made: weakref.WeakSet[DaskdCluster] = weakref.WeakSet()
_ending_here: set[str] = set()  # uids


class PanelAdaptive(RemoteAdaptive):
    """An adaptive policy that the panel can show: its JSON has no infinity."""

    @property
    def maximum(self) -> Any:
        """Never more workers than this; None without a bound."""
        return self.policy.maximum


def _policy_of(record: Cluster) -> AdaptivePolicy | None:
    """The policy of the group that the panel scales: the first."""
    adaptive = record.group().adaptive
    return adaptive.policy if adaptive is not None else None


class DaskdCluster(RemoteCluster):
    """A cluster in the panel's hands, whose ``close`` is the panel's SHUTDOWN: the cluster's end."""

    def adapt(self, *args: Any, **kwargs: Any) -> PanelAdaptive:
        """Let the number of workers follow the work; see `RemoteCluster.adapt`."""
        shown = _showing.get()
        if shown is not None and (held := _policy_of(shown)) is not None:
            return PanelAdaptive(held)  # it holds already, in full
        told = super().adapt(*args, **kwargs)
        self._adaptive = handle = PanelAdaptive(told.policy)
        handle.noted = told.noted
        return handle

    def close(self, timeout: float | None = None) -> Any:
        """End the cluster."""
        return self._leave(self._close if _taking_off.get() else self._end_here, timeout)

    async def _end_here(self) -> None:
        """End the cluster on the panel's word, which takes the cluster off itself, and only once."""
        _ending_here.add(self.uid)
        try:
            await self._end()
        except BaseException:
            _ending_here.discard(self.uid)
            raise


def panel_cluster(name: str | None = None, **kwargs: Any) -> DaskdCluster:
    """What the panel's NEW makes: ``labextension.factory`` names this function.

    Parameters
    ----------
    name
        Attach to the live cluster of this name, if there is one. None: one is made up.
    kwargs
        As `RemoteCluster` takes them.
    """
    keywords = {"shutdown_on_close": True, "quiet": True, **kwargs}
    shown = _showing.get()
    if shown is not None:
        known = ("on_exit", "address", "token", "asynchronous", "shutdown_on_close", "quiet", "start_timeout")
        attached = DaskdCluster.attach(shown.uid, **{key: keywords[key] for key in known if key in keywords})
        assert isinstance(attached, DaskdCluster)
        return attached
    keywords.setdefault("if_exists", "attach" if name else "error")
    # The name is known before the daemon is asked, so that the list can tell what it is told of from what it has.
    cluster = DaskdCluster(name or f"lab-{secrets.token_hex(3)}", **keywords)
    _made.add(cluster)
    return cluster


class PanelList:
    """Keeps the panel's list equal to the daemon's.

    Parameters
    ----------
    manager
        The ``DaskClusterManager`` of dask-labextension.
    daskd
        The daemon's API.
    """

    def __init__(self, manager: Any, daskd: AsyncDaskd) -> None:
        self._manager = manager
        self._daskd = daskd
        self._user = ""
        self._addresses: dict[str, str] = {}  # of schedulers, by uid

    async def follow(self) -> None:
        """Follow the daemon's clusters, for ever."""
        token = ""
        while True:
            try:
                self._user = self._user or (await self._daskd.info()).user
                async with aclosing(self._daskd.watch(resume_token=token)) as changes:
                    async for change in changes:
                        token = change.resume_token or token
                        if change.cluster is not None:
                            await self._try(change.cluster)
            except DaskdError as error:
                logger.info("Dask's panel can't follow the daemon's clusters: %s", error)
            await asyncio.sleep(_PAUSE)

    async def _try(self, record: Cluster) -> None:
        try:
            await self._take_note(record)
        except Exception as error:
            # The edge of a loop that must not end: the manager is not ours, and a scheduler may answer anything.
            logger.warning("Dask's panel can't keep up with cluster %s: %s", record.name, error)
            self._addresses.pop(record.uid, None)  # its next change is another try

    async def _take_note(self, record: Cluster) -> None:
        if record.owner != self._user:
            return
        if record.delete_requested or record.ended:
            await self._let_go(record)
        elif record.phase is Phase.RUNNING and record.scheduler is not None:
            is_new = record.uid not in self._addresses
            self._addresses[record.uid] = record.scheduler.address
            if is_new and not _is_made_here(record.name):
                await self._show(record)

    async def _show(self, record: Cluster) -> None:
        """Put a cluster into the panel, as it is: no workers or bounds of the panel's configuration."""
        policy = _policy_of(record)
        bounds = None if policy is None else {"minimum": policy.minimum, "maximum": policy.maximum}
        with _set(_showing, record):
            await self._manager.start_cluster(configuration={"name": record.name, "workers": None, "adapt": bounds})

    async def _let_go(self, record: Cluster) -> None:
        """Take note of a cluster's end; what SHUTDOWN ends the panel takes off itself, unless that fails."""
        if record.uid not in _ending_here:
            await self._take_off(self._addresses.pop(record.uid, ""))
        elif record.ended:
            _ending_here.discard(record.uid)
            self._addresses.pop(record.uid, None)

    async def _take_off(self, address: str) -> None:
        """Take a cluster that has ended off the panel; an address that another cluster has taken over stays."""
        if address in ("", *self._addresses.values()):
            return
        ids = [model["id"] for model in self._manager.list_clusters() if model["scheduler_address"] == address]
        with _set(_taking_off, True):
            for panel_id in ids:
                await self._manager.close_cluster(panel_id)


def _is_made_here(name: str) -> bool:
    return any(cluster.name == name and cluster.status not in _HAS_LEFT for cluster in _made)


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def load_security(info: dict[str, Any]) -> Security | None:
    """The keys of the cluster whose scheduler has an address, for ``distributed.client.security-loader``.

    With it ``Client("tls://...")``, the code that the panel inserts, connects to any cluster of yours.

    Parameters
    ----------
    info
        ``{"address": ...}``, as ``distributed.Client`` gives it.

    Returns
    -------
    Security or None
        None where the address is none of your clusters', or there is no daemon.
    """
    return run_blocking(_find_security(str(info["address"])))


async def _find_security(address: str) -> Security | None:
    if not address.startswith("tls://"):
        return None
    security = LateSecurity()
    async with AsyncDaskd() as daskd:
        try:
            clusters = await daskd.list_clusters(phases=[Phase.RUNNING])
            uid = next((c.uid for c in clusters if c.scheduler is not None and c.scheduler.address == address), None)
            if uid is None:
                return None
            security.arrive(await daskd.connection(uid))
        except (ClusterNotRunning, DaemonUnavailable):
            return None
    return security
